"""What a table shows of an object: a definition's additionalPrinterColumns, or the columns of a built-in kind."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.kubernetes.types import ResourceType

Json = dict[str, Any]
Object = Mapping[str, Any]

_STEP = re.compile(
    r"""\.(?P<name>[\w-]+)|\[\?\(@\.(?P<key>[\w-]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]|\[(?P<index>\d+)\]"""
)


@dataclass(frozen=True, slots=True)
class Column:
    """`cell` gives a string, a number or None."""

    name: str
    kind: str
    cell: Callable[[Object], Any]
    description: str = ""
    wide: int = 0
    """Shown by `-o wide` only, where it is not 0."""

    def definition(self) -> Json:
        return {
            "name": self.name,
            "type": self.kind,
            "format": "name" if self.name == "Name" else "",
            "description": self.description,
            "priority": self.wide,
        }


def columns_of(kind: ResourceType, version: str) -> list[Column]:
    if kind.built_in:
        return [_NAME, *_BUILT_IN.get(kind.plural, (_AGE,))]
    printed = [
        Column(
            each["name"], each["type"], _cell(each["jsonPath"], each["type"]),
            each.get("description", ""), each.get("priority", 0),
        )
        for each in kind.columns.get(version, ())
    ]  # fmt: skip
    return [_NAME, *(printed or (_AGE,))]


def _cell(path: str, kind: str) -> Callable[[Object], Any]:
    def cell(found: Object) -> Any:
        value = first(found, path)
        if value is None:
            return None
        if kind == "date":
            return age(str(value), datetime.now(UTC))
        if kind == "string":
            if isinstance(value, (Mapping, list)):
                return json.dumps(value, separators=(",", ":"))
            return str(value).lower() if isinstance(value, bool) else str(value)
        return value

    return cell


def first(found: Any, path: str) -> Any:
    """What a JSONPath of names, indexes and tests for equality leads to first; None where it leads nowhere. Raises
    ValueError for what else JSONPath can say."""
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError(f"the fake API server does not know {path[at:]!r} of the JSONPath {path!r}")
        at = step.end()
        if step["name"] is not None:
            found = found.get(step["name"]) if isinstance(found, Mapping) else None
        elif not isinstance(found, list):
            return None
        elif step["key"] is not None:
            found = next((each for each in found if str(each.get(step["key"])) == step["value"]), None)
        else:
            found = found[int(step["index"])] if int(step["index"]) < len(found) else None
    return found


def age(since: str, now: datetime) -> str:
    """As kubectl shows how long ago it was: one unit, or two where the larger is small."""
    try:
        seconds = int((now - datetime.fromisoformat(since)).total_seconds())
    except ValueError:
        return "<unknown>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(0, seconds)}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d"


def _at(name: str, path: str, kind: str = "string", wide: int = 0) -> Column:
    return Column(name, kind, _cell(path, kind), wide=wide)


def _count(name: str, path: str) -> Column:
    return Column(name, "string", lambda found: len(first(found, path) or ()))


def _ready(found: Object) -> str:
    statuses = first(found, ".status.containerStatuses") or ()
    containers = first(found, ".spec.containers") or ()
    return f"{sum(bool(each.get('ready')) for each in statuses)}/{len(containers)}"


def _restarts(found: Object) -> int:
    return sum(each.get("restartCount", 0) for each in first(found, ".status.containerStatuses") or ())


def _ports(found: Object) -> str:
    ports: Sequence[Object] = first(found, ".spec.ports") or ()
    return ",".join(f"{each['port']}/{each.get('protocol', 'TCP')}" for each in ports) or "<none>"


def _role(found: Object) -> str:
    return f"{found['roleRef']['kind']}/{found['roleRef']['name']}"


def _replicas(found: Object) -> str:
    return f"{first(found, '.status.readyReplicas') or 0}/{first(found, '.spec.replicas') or 1}"


_NAME = _at("Name", ".metadata.name")
_AGE = _at("Age", ".metadata.creationTimestamp", "date")
_CREATED = _at("Created At", ".metadata.creationTimestamp")
_WEBHOOKS = (_count("Webhooks", ".webhooks"), _AGE)
_WORKLOAD = (Column("Ready", "string", _replicas), _AGE)
_BINDING = (Column("Role", "string", _role), _AGE)

_BUILT_IN: Mapping[str, Sequence[Column]] = {
    "namespaces": (_at("Status", ".status.phase"), _AGE),
    "pods": (
        Column("Ready", "string", _ready), _at("Status", ".status.phase"), Column("Restarts", "integer", _restarts),
        _AGE, _at("IP", ".status.podIP", wide=1), _at("Node", ".spec.nodeName", wide=1),
    ),
    "services": (
        _at("Type", ".spec.type"), _at("Cluster-IP", ".spec.clusterIP"),
        _at("External-IP", ".status.loadBalancer.ingress[0].ip"), Column("Port(s)", "string", _ports), _AGE,
    ),
    "secrets": (_at("Type", ".type"), _count("Data", ".data"), _AGE),
    "configmaps": (_count("Data", ".data"), _AGE),
    "serviceaccounts": (_count("Secrets", ".secrets"), _AGE),
    "deployments": _WORKLOAD,
    "statefulsets": _WORKLOAD,
    "endpointslices": (_at("AddressType", ".addressType"), _count("Endpoints", ".endpoints"), _AGE),
    "leases": (_at("Holder", ".spec.holderIdentity"), _AGE),
    "clusterroles": (_CREATED,),
    "roles": (_CREATED,),
    "clusterrolebindings": _BINDING,
    "rolebindings": _BINDING,
    "mutatingwebhookconfigurations": _WEBHOOKS,
    "validatingwebhookconfigurations": _WEBHOOKS,
    "customresourcedefinitions": (_CREATED,),
}  # fmt: skip
