"""Resources as `get` shows them: stored rules, services that follow from workloads, and workloads themselves."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from control.api.kinds import KINDS, find_kind
from control.api.resource import Key
from control.api.services import Service
from control.api.workload import Workload
from control.api.world import World
from control.rest.refusals import NotFound
from control.stores.stored import StoredRule, stored_rule

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where it can be: a mesh has thousands of workloads."""
_WORKLOAD_WORDS = frozenset({"workload", "workloads", "wl"})

Stored = Mapping[Key, StoredRule]


def summaries(stored: Stored) -> list[dict[str, Any]]:
    """Every rule, without what it says."""
    return [_summary(rule) for rule in _ordered(stored.values())]


def listed(
    world: World, stored: Stored, word: str, namespace: str | None, name: str | None = None
) -> list[dict[str, Any]]:
    """Resources of the kind that `word` means, or of all kinds of rules for `all`. Takes long where many rules have to
    be written as YAML: for a thread.

    Raises NotFound for a word that means nothing."""

    def wanted(each: Key | Service | Workload) -> bool:
        return (namespace is None or each.namespace == namespace) and (name is None or each.name == name)

    if word.lower() == "all":
        return [_rule(each) for each in _ordered(each for each in stored.values() if wanted(each.key))]
    if word.lower() in _WORKLOAD_WORDS:
        return [_workload(each) for _, each in sorted(world.workloads.items()) if wanted(each)]
    kind = find_kind(word)
    if kind is None:
        known = ", ".join([*KINDS, "Workload", "all"])
        raise NotFound(f"{word[:100]!r} is no kind that Remora knows; known are {known}")
    if kind.name == "Service":
        return [_service(each) for each in world.services.values() if wanted(each)]
    return [
        _rule(each)
        for each in _ordered(each for each in stored.values() if each.key.kind == kind.name and wanted(each.key))
    ]


def one(world: World, stored: Stored, word: str, namespace: str, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    for each in listed(world, stored, word, namespace, name):
        return each
    raise NotFound(f"{word} {namespace}/{name} is not stored")


def _ordered(rules: Iterable[StoredRule]) -> list[StoredRule]:
    """By kind, oldest first, then by namespace and name."""
    places = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(rules, key=lambda rule: (places[rule.key.kind], rule.created_at, rule.key))


def _summary(rule: StoredRule) -> dict[str, Any]:
    return {
        "kind": rule.key.kind,
        "namespace": rule.key.namespace,
        "name": rule.key.name,
        "created_at": rule.created_at,
        "etag": rule.etag,
        "conditions": [
            {"type": each.type, "status": each.status, "reason": each.reason, "message": each.message}
            for each in rule.verdicts
        ],
    }


def _rule(rule: StoredRule) -> dict[str, Any]:
    return _summary(rule) | {"yaml": rule.text, "document": dict(rule.document)}


def _service(service: Service) -> dict[str, Any]:
    if service.resource is not None:
        return _rule(stored_rule(service.resource))
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": service.namespace},
        "spec": {"ports": [{"name": port.name, "port": port.number} for port in service.ports]},
    }
    return _derived(document)


def _workload(workload: Workload) -> dict[str, Any]:
    spec = workload.model_dump(mode="json", exclude={"name", "namespace", "labels"})
    document = {
        "apiVersion": "remora.io/v1",
        "kind": "Workload",
        "metadata": {"name": workload.name, "namespace": workload.namespace, "labels": workload.effective_labels},
        "spec": spec,
    }
    return _derived(document)


def _derived(document: dict[str, Any]) -> dict[str, Any]:
    """Not stored as a document, so there is no text and no time of its own."""
    metadata = document["metadata"]
    return {
        "kind": document["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "yaml": yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True),
        "document": document,
        "created_at": None,
    }
