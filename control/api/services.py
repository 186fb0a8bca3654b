"""Which services exist: those that a stored Service names and those that a registered workload claims to be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from control.api.kinds.service import ServiceSpec
from control.api.locality import NOWHERE, Locality
from control.api.protocols import AUTO
from control.api.resource import Key, Resource
from control.api.workload import AppPort, Workload

ServiceKey = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that clients use, and the instances behind it."""

    number: int
    name: str = "http"
    protocol: str = "HTTP"
    """As `control.api.protocols` names it."""
    members: tuple[tuple[Workload, AppPort], ...] = ()
    others: tuple["Address", ...] = ()
    """Instances that no workload is known to be: what slices made by hand, or an external name, say."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one of a service's instances is."""

    host: str
    """An IP address, or a name."""
    port: int
    locality: Locality = NOWHERE
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A host of the mesh, `NAME.NAMESPACE.svc.cluster.local`."""

    namespace: str
    name: str
    ports: tuple[Port, ...] = ()
    members: tuple[Workload, ...] = ()
    resource: Resource | None = field(default=None, compare=False)
    """The stored Service, where there is one."""
    addresses: tuple[str, ...] = ()
    """Its own, by which captured connections to it are known; empty: it is headless, or of a laptop."""
    external_name: str = ""
    """What its name stands for in DNS (type ExternalName); proxies look it up themselves."""
    nearest: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The zones whose clients an instance is for (topology hints), by the instance's IP address; all instances have
    some, or none does."""

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"


def derive_services(resources: Mapping[Key, Resource], workloads: Iterable[Workload]) -> dict[ServiceKey, Service]:
    """Every service by (namespace, name), sorted, with its ports' instances."""
    by_label: dict[tuple[str, str, str], list[Workload]] = {}
    by_service: dict[ServiceKey, list[Workload]] = {}
    for workload in sorted(workloads, key=lambda w: (w.namespace, w.name)):
        if workload.finished:
            continue
        for label, value in workload.effective_labels.items():
            by_label.setdefault((workload.namespace, label, value), []).append(workload)
        if workload.service is not None:
            by_service.setdefault((workload.namespace, workload.service), []).append(workload)
    found: dict[ServiceKey, Service] = {}
    for key in sorted(resources):
        resource = resources[key]
        if isinstance(resource.spec, ServiceSpec):
            selector = resource.spec.selector
            if selector:
                candidates = by_label.get((key.namespace, *next(iter(selector.items()))), [])
            else:
                candidates = by_service.get((key.namespace, key.name), [])
            members = [each for each in candidates if selects(resource, each)]
            found[key.namespace, key.name] = declared(resource, members)
    for (namespace, name), members in by_service.items():
        if (namespace, name) not in found:
            found[namespace, name] = claimed(namespace, name, members)
    return dict(sorted(found.items()))


def declared(resource: Resource, members: Sequence[Workload]) -> Service:
    """A stored Service with its instances, by name."""
    spec = resource.spec
    assert isinstance(spec, ServiceSpec)
    ports = []
    for port in spec.ports:
        behind = []
        for workload in members:
            app = _app_port(workload, port.target_port if port.target_port is not None else port.port, port.port)
            if app is not None:
                behind.append((workload, app))
        protocol = port.application_protocol
        if protocol == AUTO and behind:
            protocol = behind[0][1].protocol  # the Service leaves open what its instances may have said
        ports.append(Port(port.port, port.name or "http", protocol, tuple(behind)))
    return Service(resource.namespace, resource.name, tuple(ports), tuple(members), resource, spec.addresses)


def claimed(namespace: str, name: str, members: Sequence[Workload]) -> Service:
    """A service that is nothing but what registered workloads, by name, say that they are."""
    return Service(namespace, name, _claimed_ports(members), tuple(members))


def selects(resource: Resource, workload: Workload) -> bool:
    """Whether a workload of its namespace is an instance of a stored Service."""
    spec = resource.spec
    assert isinstance(spec, ServiceSpec)
    if workload.kind == "gateway" and not spec.selector:
        return False
    if not spec.selector:
        return workload.service == resource.name
    labels = workload.effective_labels
    return all(labels.get(label) == value for label, value in spec.selector.items())


def _app_port(workload: Workload, target: int | str, number: int) -> AppPort | None:
    """The instance's port: by name, by the application's own port, or by the service port it registered."""
    for port in workload.ports:
        if port.name == target if isinstance(target, str) else port.app.endswith(f":{target}"):
            return port
    for port in workload.ports:
        if port.service_port == (number if isinstance(target, str) else target) or port.service_port == number:
            return port
    return None


def _claimed_ports(members: Sequence[Workload]) -> tuple[Port, ...]:
    names: dict[int, AppPort] = {}
    behind: dict[int, list[tuple[Workload, AppPort]]] = {}
    for workload in members:
        for port in workload.ports:
            names.setdefault(port.service_port, port)
            behind.setdefault(port.service_port, []).append((workload, port))
    return tuple(Port(n, names[n].name, names[n].protocol, tuple(behind[n])) for n in sorted(behind))
