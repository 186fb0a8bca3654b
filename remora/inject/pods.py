"""Where in a Kubernetes document its pods are. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control.injector.owner import Owner

Path = tuple[str | int, ...]

_TEMPLATE: Path = ("spec", "template")
_KINDS: dict[tuple[str, str], Path] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""By group and kind: the path of the pod, or of its template."""

MAX_ITEMS = 10_000
"""Of lists in a document, those in lists included."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pod of a document."""

    path: Path
    pod: dict[str, Any]
    kind: str
    """Of the object that holds it."""
    name: str
    namespace: str
    """Empty: it does not say."""

    @property
    def owner(self) -> Owner | None:
        """Whose the template is; a Pod says itself."""
        return None if self.kind == "Pod" else Owner(self.kind, self.name)


class NoPod(Exception):
    """A kind that holds pods, without one where it has to be."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def places(document: Any) -> Iterator[Place]:
    """The pods of a document, in its order; of what holds none, nothing. Raises NoPod."""
    left = [MAX_ITEMS]
    yield from _places(document, (), left)


def _places(document: Any, path: Path, left: list[int]) -> Iterator[Place]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        return
    kind, items = document["kind"], document.get("items")
    if kind.endswith("List") and isinstance(items, list):
        left[0] -= len(items)
        if left[0] < 0:
            raise NoPod((*path, "items"), f"has more than {MAX_ITEMS:,} items; split it")
        for index, item in enumerate(items):
            # Items of a PodList need not say what they are.
            named = item if kind == "List" or not isinstance(item, dict) else _typed(document, kind) | item
            yield from _places(named, (*path, "items", index), left)
        return
    version = document.get("apiVersion")
    group = version.rpartition("/")[0] if isinstance(version, str) else ""
    inside = _KINDS.get((group, kind))
    if inside is None:
        return
    metadata = document.get("metadata")
    named_by = metadata if isinstance(metadata, dict) else {}
    pod: Any = document
    for depth, step in enumerate(inside):
        pod = pod.get(step)
        if not isinstance(pod, dict):
            raise NoPod((*path, *inside[: depth + 1]), f"is missing; a {kind} has a pod's template there")
    if not inside:
        pod = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "status")}
    yield Place((*path, *inside), pod, kind, _text(named_by, "name"), _text(named_by, "namespace"))


def looks_like_one(document: Any) -> bool:
    """Whether a document of a kind that is not known has what others call a pod's template (Argo's Rollout has)."""
    inside = document
    for step in ("spec", "template", "spec", "containers"):
        inside = inside.get(step) if isinstance(inside, dict) else None
    return isinstance(inside, list) and isinstance(document.get("kind"), str)


def _typed(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")}


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def replaced(document: Any, path: Path, pod: dict[str, Any]) -> Any:
    """`document` with `pod` at `path`, whatever else is there (a Pod's kind and status) kept, in its order."""
    if not path:
        return _over(document, pod)
    copy: Any = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], pod)
    return copy


def _over(old: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in old.items() if key in ("apiVersion", "kind", "status")}
    if not kept:
        return pod
    first = {key: value for key, value in kept.items() if key != "status"}
    return first | pod | kept
