"""Resources as `get` shows them: stored rules, services that follow from workloads, and workloads themselves."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from control.api.kinds import KINDS, find_kind
from control.api.resource import Resource
from control.api.services import Service
from control.api.workload import Workload
from control.api.world import World
from control.rest.refusals import NotFound

_WORKLOAD_WORDS = frozenset({"workload", "workloads", "wl"})


def listed(world: World, word: str, namespace: str | None, name: str | None = None) -> list[dict[str, Any]]:
    """Resources of the kind that `word` means, or of all kinds of rules for `all`. Takes long where many rules have to
    be written as YAML: for a thread.

    Raises NotFound for a word that means nothing."""

    def wanted(each: Resource | Service | Workload) -> bool:
        return (namespace is None or each.namespace == namespace) and (name is None or each.name == name)

    if word.lower() == "all":
        return [_rule(each) for kind in KINDS for each in world.of_kind(kind) if wanted(each)]
    if word.lower() in _WORKLOAD_WORDS:
        return [_workload(each) for _, each in sorted(world.workloads.items()) if wanted(each)]
    kind = find_kind(word)
    if kind is None:
        known = ", ".join([*KINDS, "Workload", "all"])
        raise NotFound(f"{word[:100]!r} is no kind that Remora knows; known are {known}")
    if kind.name == "Service":
        return [_service(each) for each in world.services.values() if wanted(each)]
    return [_rule(each) for each in world.of_kind(kind.name) if wanted(each)]


def one(world: World, word: str, namespace: str, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    for each in listed(world, word, namespace, name):
        return each
    raise NotFound(f"{word} {namespace}/{name} is not stored")


def _rule(resource: Resource) -> dict[str, Any]:
    return {
        "kind": resource.kind,
        "namespace": resource.namespace,
        "name": resource.name,
        "yaml": resource.text,
        "document": dict(resource.document),
        "created_at": resource.created_at,
    }


def _service(service: Service) -> dict[str, Any]:
    if service.resource is not None:
        return _rule(service.resource)
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
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = StringIO()
    yaml.dump(document, stream)
    metadata = document["metadata"]
    return {
        "kind": document["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "yaml": stream.getvalue(),
        "document": document,
        "created_at": None,
    }
