"""One cluster's pods, services and slices, followed: its reflectors and the registry that they feed."""

from collections.abc import Callable, Mapping
from typing import Any

from control.api.locality import Locality
from control.api.world import WorkloadKey
from control.kubernetes.reflector import Reflector, Surroundings
from control.kubernetes.resources import ApiResource
from control.stores.kubernetes.pods import decode_node, decode_node_address, decode_pod
from control.stores.kubernetes.registry import Registry
from control.stores.kubernetes.services import decode_service, decode_slice

PODS = ApiResource("", "v1", "pods")
NODES = ApiResource("", "v1", "nodes", namespaced=False)
SERVICES = ApiResource("", "v1", "services")
SLICES = ApiResource("discovery.k8s.io", "v1", "endpointslices")


class Members:
    """`reflectors` are run by whoever follows the cluster; `changed` is called after every change."""

    def __init__(self, around: Surroundings, changed: Callable[[], None]) -> None:
        self.registry = registry = Registry(around.cluster)
        self._around = around
        self._changed = changed
        self.fresh = True
        """Until the registry's first changes are taken."""
        self.node_addresses: dict[str, str] = {}
        """By the node's name; empty for those that have none."""
        self.reflectors: list[Reflector[Any]] = [
            # Without nodes there is no locality, and everything else all the same.
            self._reflect(NODES, _decode_node, self._on_node, required=False),
            self._reflect(PODS, decode_pod, lambda name, _, after: registry.pod(name, after)),
            self._reflect(SERVICES, decode_service, lambda name, _, after: registry.service(name, after)),
            self._reflect(
                SLICES, decode_slice, lambda name, before, after: registry.slice(name[0], name[1], before, after)
            ),
        ]

    def _on_node(self, name: WorkloadKey, _before: Any, after: "tuple[Locality, str] | None") -> None:
        if after is None:
            self.node_addresses.pop(name[1], None)
        else:
            self.node_addresses[name[1]] = after[1]
        self.registry.node(name[1], after[0] if after is not None else None)

    def _reflect(
        self,
        resource: ApiResource,
        decode: Callable[[Mapping[str, Any]], Any],
        take: Callable[[WorkloadKey, Any, Any], None],
        *,
        required: bool = True,
    ) -> Reflector[Any]:
        def changed(name: WorkloadKey, before: Any, after: Any) -> None:
            take(name, before, after)
            self._changed()

        return Reflector(self._around, [resource], decode, changed, required=required)

    async def synced(self) -> None:
        """Return once all of it is known."""
        for each in self.reflectors:
            await each.synced.wait()


def _decode_node(node: Mapping[str, Any]) -> tuple[Locality, str]:
    return decode_node(node), decode_node_address(node)
