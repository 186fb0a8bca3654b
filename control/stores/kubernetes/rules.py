"""Our own kinds, as a cluster has them: each object to a resource, or to what is wrong with it. Pure."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import yaml

from control.api.kinds import KINDS, Kind
from control.api.parse import parse_document
from control.api.resource import Key, Resource
from control.api.violation import Violation
from control.kubernetes.resources import ApiResource
from control.kubernetes.status import UNREPORTED, Reported, reported
from control.stores.kubernetes.outside import forbidden_places

REVISION_LABELS = ("remora.io/rev", "istio.io/rev")
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Rule:
    """An object of one of our kinds."""

    resource: Resource | None
    """None while it is wrong."""
    violations: tuple[Violation, ...] = ()
    generation: int = 0
    uid: str = ""
    resource_version: str = ""
    """Of the object, which differs for every change of it, its status too."""
    reported: Reported = UNREPORTED
    """What its status says of it."""
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What it was parsed from; empty while it is wrong."""
    text: Callable[[], str] = field(default=str, compare=False, repr=False)
    """The same as YAML, wrong or not."""
    api_version: str = ""
    etag: str = ""
    """Another one for every change of what a person wrote of it."""
    created_at: float = 0.0
    """Seconds since the epoch."""


def kinds() -> list[tuple[Kind, tuple[ApiResource, ...]]]:
    """Every kind that is a custom resource, in each of its versions. Services are the cluster's own."""
    return [
        (kind, tuple(resource_of(version, kind) for version in kind.api_versions))
        for kind in KINDS.values()
        if "/" in kind.api_versions[0]
    ]


def resource_of(api_version: str, kind: Kind) -> ApiResource:
    """Where the API server keeps it."""
    group, _, version = api_version.rpartition("/")
    return ApiResource(group, version, kind.plural)


class RuleDecoder:
    """Of one kind. Remembers what it parsed, because most events of a rule change its status alone."""

    def __init__(self, kind: Kind, revision: str = "") -> None:
        """`revision`: of this control plane; a rule labelled for another is that one's alone."""
        self._kind = kind
        self._revision = revision or "default"
        self._known: dict[Key, Rule] = {}

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._known.pop(key, None)

    def decode(self, found: Mapping[str, Any]) -> Rule | None:
        """None for one that is not for this control plane. Raises for what is no object of Kubernetes."""
        metadata = found["metadata"]
        said = [value for label, value in (metadata.get("labels") or {}).items() if label in REVISION_LABELS]
        if said and self._revision not in said:
            return None
        key = Key(self._kind.name, metadata["namespace"], metadata["name"])
        document = _document(found, self._kind)
        rest: dict[str, Any] = {
            "generation": int(metadata.get("generation") or 0),
            "uid": str(metadata.get("uid") or ""),
            "resource_version": str(metadata.get("resourceVersion") or ""),
            "reported": reported(found),
            "api_version": document["apiVersion"],
            "etag": _etag(metadata),
        }
        before = self._known.get(key)
        if before is not None and before.document == document:
            rule = replace(before, **rest)
        else:
            text, created_at = Written(document), _seconds(metadata.get("creationTimestamp"))
            resource, violations = _parsed(document, text, created_at)
            # What is wrong is read anew: it may be nested too deeply to be compared.
            kept = document if resource is not None else {}
            rule = Rule(resource, violations, **rest, document=kept, text=text, created_at=created_at)
        self._known[key] = rule
        return rule


class Written:
    """A document as YAML, in the order in which an API server gives it back. Made when somebody asks: it takes ten
    times as long as all else that is done with a rule."""

    __slots__ = ("_document", "_text")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._text: str | None = None

    def __call__(self) -> str:
        if self._text is None:
            try:
                self._text = str(yaml.dump(dict(self._document), Dumper=_DUMPER, sort_keys=True, allow_unicode=True))
            except RecursionError:
                self._text = "# nested too deeply to be shown\n"
        return self._text


def _parsed(
    document: Mapping[str, Any], text: "Written", created_at: float
) -> tuple[Resource | None, tuple[Violation, ...]]:
    parsed = parse_document(document, text)
    errors = tuple(each for each in parsed.violations if each.severity == "error")
    if errors or not parsed.resources:
        return None, errors
    errors = forbidden_places(parsed.resources[0])
    if errors:
        return None, errors
    return replace(parsed.resources[0], created_at=created_at), ()


def _document(found: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What a person wrote of it: nothing of the server's, of controllers' and of kubectl's."""
    metadata = found["metadata"]
    about: dict[str, Any] = {"name": metadata["name"], "namespace": metadata["namespace"]}
    if metadata.get("labels"):
        about["labels"] = metadata["labels"]
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != _LAST_APPLIED}
    if annotations:
        about["annotations"] = annotations
    document = {
        "apiVersion": found.get("apiVersion") or kind.api_versions[0],
        "kind": kind.name,
        "metadata": about,
    }
    # Other fields of the object, which the CRD's schema would not let pass, are refused by name.
    known = ("apiVersion", "kind", "metadata", "status")
    return document | {name: value for name, value in found.items() if name not in known}


def _etag(metadata: Mapping[str, Any]) -> str:
    """Of its spec the generation tells, which a status does not change; labels and annotations do not change that."""
    about = [str(metadata.get("uid")), str(metadata.get("generation"))]
    for name in ("labels", "annotations"):
        said = metadata.get(name) or {}
        about += [f"{name}: {key}={said[key]}" for key in sorted(said, key=str) if key != _LAST_APPLIED]
    return hashlib.sha256("\0".join(about).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _seconds(timestamp: object) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return 0.0
