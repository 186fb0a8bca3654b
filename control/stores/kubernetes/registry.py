"""Services and workloads of a cluster, kept up with its objects one by one: what a change does not touch stays the same
object. Pure; the store feeds it and asks it for what has changed.

One pod's change costs the services that it stands behind, not all of them: of each pod it is known which slices name
it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from control.api.locality import NOWHERE, Locality
from control.api.services import Address, Port, Service, ServiceKey
from control.api.workload import AppPort, Workload
from control.api.world import WorkloadKey
from control.stores.kubernetes.endpoints import Chosen, choose
from control.stores.kubernetes.pods import PodFacts
from control.stores.kubernetes.services import Reach, ServiceFacts, SliceFacts

_MAX_PORTS = 64
"""Of a workload, as `control.api.workload` bounds them."""


@dataclass(slots=True)
class Changes:
    """What is another than at the last `take`."""

    services: dict[ServiceKey, Service | None] = field(default_factory=dict)
    """None: gone."""
    workloads: dict[WorkloadKey, Workload | None] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """Pods that are no workloads for us, with the reason."""

    def __bool__(self) -> bool:
        return bool(self.services or self.workloads)


class Registry:
    """Of one cluster. `cluster` names it where it is not the control plane's own."""

    def __init__(self, cluster: str = "") -> None:
        self._cluster = cluster
        self._pods: dict[WorkloadKey, PodFacts] = {}
        self._nodes: dict[str, Locality] = {}
        self._services: dict[ServiceKey, ServiceFacts] = {}
        self._slices: dict[ServiceKey, dict[str, SliceFacts]] = {}
        self._naming: dict[WorkloadKey, set[tuple[ServiceKey, str]]] = {}
        """The slices that name a pod."""
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._made: dict[ServiceKey, Service] = {}
        self._dirty_pods: set[WorkloadKey] = set()
        self._dirty_services: set[ServiceKey] = set()

    # What the cluster says.

    def pod(self, key: WorkloadKey, after: PodFacts | None) -> None:
        """A pod is new, another, or gone."""
        if after is None:
            self._pods.pop(key, None)
        else:
            self._pods[key] = after
        self._dirty_pods.add(key)

    def node(self, name: str, after: Locality | None) -> None:
        """So is a node."""
        if self._nodes.get(name, NOWHERE) == (after or NOWHERE):
            return
        if after is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = after
        # Rare: no index is kept of what is on a node.
        self._dirty_pods.update(key for key, pod in self._pods.items() if pod.node == name)
        self._dirty_services.update(
            key
            for key, slices in self._slices.items()
            if any(not each.pod and each.node == name for found in slices.values() for each in found.endpoints)
        )

    def service(self, key: ServiceKey, after: ServiceFacts | None) -> None:
        """So is a Service."""
        if after is None:
            self._services.pop(key, None)
        else:
            self._services[key] = after
        self._dirty_services.add(key)
        for each in self._slices.get(key, {}).values():
            self._dirty_pods.update(_pods_of(key[0], each))

    def slice(self, namespace: str, name: str, before: SliceFacts | None, after: SliceFacts | None) -> None:
        """So is an EndpointSlice."""
        named: dict[WorkloadKey, None] = {}
        for each, there in ((before, False), (after, True)):
            if each is None:
                continue
            key = (namespace, each.service)
            self._dirty_services.add(key)
            of_service = self._slices.setdefault(key, {})
            if there:
                of_service[name] = each
            else:
                del of_service[name]
                if not of_service:
                    del self._slices[key]
            for pod in _pods_of(namespace, each):
                slices = self._naming.setdefault(pod, set())
                if there:
                    slices.add((key, name))
                else:
                    slices.discard((key, name))
                named[pod] = None
        same = before is not None and after is not None and before.service == after.service
        if same and before is not None and after is not None and before.ports == after.ports:
            # Who stays behind the same ports is the same workload.
            stay = set(_pods_of(namespace, before)) & set(_pods_of(namespace, after))
            self._dirty_pods.update(pod for pod in named if pod not in stay)
        else:
            self._dirty_pods.update(named)
        for pod in named:
            if not self._naming[pod]:
                del self._naming[pod]

    # What follows.

    @property
    def services(self) -> Mapping[ServiceKey, Service]:
        """As of the last `take`."""
        return self._made

    def gateway(self, key: WorkloadKey) -> tuple[frozenset[int], tuple[Reach, ...], str]:
        """Of a gateway's pod: the ports that Services lead to it by, how those are reached, and its node's name."""
        services = {service for service, _ in self._naming.get(key, ())}
        reach = tuple(self._services[each].reach for each in sorted(services) if each in self._services)
        pod = self._pods.get(key)
        return frozenset(number for number, _, _ in self._targets(key)), reach, pod.node if pod is not None else ""

    def workload(self, key: WorkloadKey) -> Workload | None:
        """As of the last `take`, if it asks for configuration."""
        found = self._workloads.get(key)
        return found if _takes_part(found) else None

    def take(self) -> Changes:
        """What has changed since the last time, equal objects left out."""
        changes = Changes()
        pods, self._dirty_pods = self._dirty_pods, set()
        for key in pods:
            before = self._workloads.get(key)
            after = self._workload(key, changes.refused)
            if after == before:
                continue
            if after is None:
                del self._workloads[key]
            else:
                self._workloads[key] = after
            self._dirty_services.update(service for service, _ in self._naming.get(key, ()))
            if _takes_part(before) or _takes_part(after):
                changes.workloads[key] = after if _takes_part(after) else None
        services, self._dirty_services = self._dirty_services, set()
        for key in services:
            old, new = self._made.get(key), self._service(key)
            if new == old:
                continue
            if new is None:
                del self._made[key]
            else:
                self._made[key] = new
            changes.services[key] = new
        return changes

    def _workload(self, key: WorkloadKey, refused: list[str]) -> Workload | None:
        """A pod's; None before it has an address."""
        pod = self._pods.get(key)
        if pod is None or not pod.addresses:
            return None
        namespace, name = key
        ports = tuple(self._app_ports(key, pod))[:_MAX_PORTS] if not pod.gateway else ()
        try:
            return Workload(
                name=name,
                namespace=namespace,
                kind="gateway" if pod.gateway else "sidecar",
                service_account=pod.account,
                labels=dict(pod.labels),
                ports=ports,
                gateway_ports=self._gateway_ports(key, pod) if pod.gateway else {},
                addresses=pod.addresses,
                capture=pod.meshed,
                finished=pod.finished,
                owner=pod.owner,
                canonical_service=pod.canonical_service,
                canonical_revision=pod.canonical_revision,
                locality=self._nodes.get(pod.node, NOWHERE),
                cluster=self._cluster,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            refused.append(f"pod {namespace}/{name}: {'.'.join(map(str, first['loc']))} {first['msg']}")
            return None

    def _targets(self, key: WorkloadKey) -> Iterator[tuple[int, str, int]]:
        """(service's port, its name, the pod's port) of the services that it stands behind, the first of a number
        first."""
        for service_key, slice_name in sorted(self._naming.get(key, ())):
            service = self._services.get(service_key)
            if service is None:
                continue
            numbers = self._slices[service_key][slice_name].ports
            for port in service.ports:
                if port.name in numbers:
                    yield port.number, port.name, numbers[port.name]

    def _app_ports(self, key: WorkloadKey, pod: PodFacts) -> Iterator[AppPort]:
        seen: set[int] = set()
        for _, name, number in self._targets(key):
            if number not in seen and (not pod.meshed or pod.is_captured(number)):
                seen.add(number)
                yield _app_port(name, number, pod.addresses[0])

    def _gateway_ports(self, key: WorkloadKey, pod: PodFacts) -> dict[str, str]:
        """A Gateway names the port of the gateway's Service; bound is what that leads to, at every address."""
        anywhere = "[::]" if ":" in pod.addresses[0] else "0.0.0.0"  # noqa: S104 - a pod's own addresses
        found: dict[str, str] = {}
        for number, _, target in self._targets(key):
            found.setdefault(str(number), f"{anywhere}:{target}")
        return found

    def _service(self, key: ServiceKey) -> Service | None:
        facts = self._services.get(key)
        if facts is None:
            return None
        # By name: where two slices say otherwise of one address, it must not matter which was heard of first.
        chosen = choose(facts, [found for _, found in sorted(self._slices.get(key, {}).items())])
        members: dict[WorkloadKey, Workload] = {}
        ports = []
        for port in facts.ports:
            behind, others = self._behind(key[0], chosen.get(port.name, ()))
            members.update(((each.namespace, each.name), each) for each, _ in behind)
            ports.append(Port(port.number, port.name or "http", port.protocol, behind, others))
        nearest = _nearest(chosen)
        return Service(
            namespace=key[0],
            name=key[1],
            ports=tuple(ports),
            members=tuple(members[each] for each in sorted(members)),
            addresses=facts.addresses,
            external_name=facts.external_name,
            nearest=nearest,
        )

    def _behind(
        self, namespace: str, chosen: tuple[Chosen, ...]
    ) -> tuple[tuple[tuple[Workload, AppPort], ...], tuple[Address, ...]]:
        """Pods, and what is no pod's. A pod that is not known (any more) is left out: whether it takes mutual TLS is
        not known either."""
        members: list[tuple[Workload, AppPort]] = []
        others: list[Address] = []
        for each in chosen:
            if not each.pod:
                zone = Locality(zone=each.zone) if each.zone else NOWHERE
                others.append(Address(each.address, each.port, self._nodes.get(each.node, zone), self._cluster))
                continue
            workload, pod = self._workloads.get((namespace, each.pod)), self._pods.get((namespace, each.pod))
            if workload is not None and pod is not None and not workload.finished:
                members.append(self._member(workload, pod, each))
        return tuple(members), tuple(others)

    def _member(self, workload: Workload, pod: PodFacts, chosen: Chosen) -> tuple[Workload, AppPort]:
        for port in workload.ports:
            if port.service_port == chosen.port and chosen.address == pod.addresses[0]:
                return workload, port
        if pod.meshed and not pod.is_captured(chosen.port):
            # Reached past its sidecar, which makes it another workload to its clients: one without.
            workload = workload.model_copy(update={"capture": False, "ports": ()})
        return workload, _app_port(chosen.name, chosen.port, chosen.address)


def _app_port(name: str, number: int, address: str) -> AppPort:
    """Made without checks: both came from the API server, and there are thousands."""
    at = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    return AppPort.model_construct(name=name or "http", service_port=number, app=at, inbound=None)


def _pods_of(namespace: str, found: SliceFacts) -> Iterator[WorkloadKey]:
    return ((namespace, each.pod) for each in found.endpoints if each.pod)


def _takes_part(workload: Workload | None) -> bool:
    """Whether it has a sidecar that asks for its configuration."""
    return workload is not None and (workload.capture or workload.kind == "gateway")


def _nearest(chosen: Mapping[str, tuple[Chosen, ...]]) -> dict[str, frozenset[str]]:
    """The zones that each instance is for, if all of them have hints: half of them would starve the others' zones.

    https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/#safeguards
    """
    zones = {each.address: each.zones for port in chosen.values() for each in port}
    return zones if zones and all(zones.values()) else {}
