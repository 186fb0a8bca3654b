"""What an installation leaves to be deleted, in the order in which nothing is missed: who asks first, what is asked
last."""

from typing import Any

from remora.install.crds.definitions import all_definitions
from remora.install.names import NODE_NAMESPACE, SYSTEM_NAMESPACE
from remora.install.objects import identity, objects
from remora.install.values import Values

# Whatever was switched on: `kubectl delete --ignore-not-found` passes by the rest.
_EVERYTHING = Values.model_validate(
    {"customMetrics": {"enabled": True, "prometheus": "http://any"}, "cni": {"enabled": True}}
)


def removal(revision: str, *, purge: bool) -> list[dict[str, Any]]:
    """Stubs of objects. Without `purge` what holds people's data stays: definitions, with every rule of theirs, and the
    namespaces, with the authority's key and the collector's volume. Of a revision only what is its own."""
    values = _EVERYTHING.model_copy(update={"revision": revision})
    found = [each for each in reversed(objects(values)) if each["kind"] != "Namespace"]
    if not revision:
        # What the control plane made for itself.
        found.append(_named("coordination.k8s.io/v1", "Lease", "remora-control"))
        if purge:
            found += [
                *all_definitions(),
                *(
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                    for name in (NODE_NAMESPACE, SYSTEM_NAMESPACE)
                ),
            ]
    return [_stub(each) for each in found]


def _named(api_version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE}}


def _stub(found: dict[str, Any]) -> dict[str, Any]:
    api_version, kind, namespace, name = identity(found)
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
    }
