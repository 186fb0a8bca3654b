"""What the control plane's REST interface answers, as types. Pure: JSON values in, checked dataclasses out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

Key = tuple[str, str, str]
"""A rule's kind, namespace and name."""


class MalformedAnswer(ValueError):
    """The answer has not the shape that docs/interfaces.md describes."""


@dataclass(frozen=True, slots=True)
class Named:
    """A document of the user's, or what is said of one."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return (self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a document."""

    file: str
    line: int
    """From 1; 0 where no line is to blame."""
    kind: str
    namespace: str
    name: str
    path: str
    message: str
    severity: str
    """"error" or "warning"."""


@dataclass(frozen=True, slots=True)
class Change(Named):
    """What happened, or would happen, to one document; `before` and `after` are YAML."""

    action: str
    """"created", "configured", "unchanged" or "deleted"."""
    before: str | None
    after: str | None
    etag: str
    """Of `before`; empty where there was nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What the mesh says of a stored rule."""

    type: str
    """"Accepted", "Analyzed", ..."""
    status: str
    """"True" or "False"."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rule(Named):
    """A stored rule, without what it says."""

    etag: str
    """Another one for every other text."""
    conditions: tuple[Condition, ...]
    """None on a laptop, whose store takes no rule that is wrong."""


@dataclass(frozen=True, slots=True)
class RuleList:
    """The answer of `/v1/rules`."""

    rules: tuple[Rule, ...]
    editable: bool
    """Whether the console may change them."""


@dataclass(frozen=True, slots=True)
class Resource(Rule):
    """With what it says; of what is no rule, a service or a workload, `etag` and `conditions` are empty."""

    yaml: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A configuration that a proxy refused."""

    type: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """A sidecar or gateway as the control plane sees it."""

    workload: str
    namespace: str
    node_id: str
    kind: str
    state: str
    """"synced", "stale", "rejected" or "disconnected"."""
    version: str | None
    sent_version: str | None
    rejections: tuple[Rejection, ...]
    pushes: int
    last_push_ms: float | None
    connected_since: float
    """Seconds since the epoch; 0 while it is not."""


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The answer of `/v1/status`, of one control plane or joined."""

    version: str
    proxies: tuple[Proxy, ...]
    replicas: tuple[str, ...] = ()
    """HOST:PORT of every control plane of a cluster."""
    silent: int = 0
    """How many of them did not answer: whose sidecars seem disconnected."""

    def count(self, state: str) -> int:
        """How many proxies are in this state."""
        return sum(proxy.state == state for proxy in self.proxies)


def joined(status: MeshStatus, others: Sequence[MeshStatus], *, silent: int) -> MeshStatus:
    """With what other control planes say of the sidecars that are connected to them: the newest connection counts."""
    proxies = {proxy.node_id: proxy for proxy in status.proxies}
    for other in others:
        for proxy in other.proxies:
            known = proxies.get(proxy.node_id)
            if known is not None and proxy.connected_since > known.connected_since:
                proxies[proxy.node_id] = proxy
    return replace(status, proxies=tuple(proxies.values()), silent=silent)


def parse_violations(answer: Any) -> tuple[Violation, ...]:
    """A list of violations. Raises MalformedAnswer, as all of these do."""
    return _each(answer, _violation)


def parse_changes(answer: Any) -> tuple[Change, ...]:
    """The changes of an apply or delete."""
    return _each(_field(answer, "changes"), _change)


def parse_rules(answer: Any) -> RuleList:
    """Every rule, and whether the console may change them."""
    return RuleList(_each(_field(answer, "rules"), _rule), answer.get("console_edits_rules") is True)


def parse_resource(answer: Any) -> Resource:
    """One stored document."""
    if not isinstance(answer, Mapping):
        raise MalformedAnswer("an object was expected")
    return _resource(answer)


def parse_resources(answer: Any) -> tuple[Resource, ...]:
    """A listing of stored documents."""
    return _each(_field(answer, "resources"), _resource)


def parse_status(answer: Any) -> MeshStatus:
    """The state of all proxies."""
    replicas = answer.get("replicas") if isinstance(answer, Mapping) else None
    return MeshStatus(
        _text(answer, "version"),
        _each(_field(answer, "proxies"), _proxy),
        tuple(str(each) for each in replicas) if isinstance(replicas, list) else (),
    )


def _violation(item: Any) -> Violation:
    line = item.get("line")
    return Violation(
        _text(item, "file"),
        line if isinstance(line, int) else 0,
        _text(item, "kind"),
        _text(item, "namespace"),
        _text(item, "name"),
        _text(item, "path"),
        _text(item, "message"),
        _text(item, "severity") or "error",
    )


def _change(item: Any) -> Change:
    return Change(
        *_key(item),
        _text(item, "action"),
        _optional_text(item, "before"),
        _optional_text(item, "after"),
        _text(item, "etag"),
    )


def _rule(item: Any) -> Rule:
    return Rule(*_key(item), *_state(item))


def _key(item: Any) -> Key:
    return _text(item, "kind"), _text(item, "namespace"), _text(item, "name")


def _state(item: Any) -> tuple[str, tuple[Condition, ...]]:
    return _text(item, "etag"), _each(item.get("conditions") or (), _condition)


def _condition(item: Any) -> Condition:
    return Condition(_text(item, "type"), _text(item, "status"), _text(item, "reason"), _text(item, "message"))


def _resource(item: Any) -> Resource:
    document = item.get("document")
    return Resource(
        *_key(item),
        *_state(item),
        _text(item, "yaml"),
        document if isinstance(document, Mapping) else {},
    )


def _proxy(item: Any) -> Proxy:
    pushes, last_push_ms, since = item.get("pushes"), item.get("last_push_ms"), item.get("connected_since")
    return Proxy(
        workload=_text(item, "workload"),
        namespace=_text(item, "namespace"),
        node_id=_text(item, "node_id"),
        kind=_text(item, "kind"),
        state=_text(item, "state"),
        version=_optional_text(item, "version"),
        sent_version=_optional_text(item, "sent_version"),
        rejections=_each(item.get("rejections") or (), _rejection),
        pushes=pushes if isinstance(pushes, int) else 0,
        last_push_ms=float(last_push_ms) if isinstance(last_push_ms, int | float) else None,
        connected_since=float(since) if isinstance(since, int | float) else 0.0,
    )


def _rejection(item: Any) -> Rejection:
    return Rejection(_text(item, "type"), _text(item, "path"), _text(item, "message"))


def _each(items: Any, parse: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(items, list | tuple):
        raise MalformedAnswer(f"a list was expected, not {type(items).__name__}")
    if not all(isinstance(item, Mapping) for item in items):
        raise MalformedAnswer("a list of objects was expected")
    return tuple(parse(item) for item in items)


def _field(answer: Any, name: str) -> Any:
    if not isinstance(answer, Mapping) or name not in answer:
        raise MalformedAnswer(f"{name!r} is missing")
    return answer[name]


def _text(item: Any, name: str) -> str:
    if not isinstance(item, Mapping):
        raise MalformedAnswer("an object was expected")
    value = item.get(name)
    return "" if value is None else str(value)


def _optional_text(item: Any, name: str) -> str | None:
    value = item.get(name)
    return None if value is None else str(value)
