"""The whole mesh without dialect: what every proxy's configuration is generated from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from control.ir.addons import Addons
from control.ir.instances import Behind, WorkloadKey, instances
from control.ir.policies import DestinationPolicy, PeerPolicies
from control.ir.proxy import Proxy
from control.ir.python_filters import PythonFilter
from control.ir.routes import HostRoutes
from control.ir.services import Protocol, Service
from control.ir.settings import MeshSettings

Labels = tuple[tuple[str, str], ...]

NO_POLICY = DestinationPolicy()
"""Where no rule says anything: always this object."""


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """TLS that the gateway ends, with files that it reads itself, or with a credential that it is sent."""

    certificate: str = ""
    key: str = ""
    authorities: str | None = None
    """Clients must have a certificate of one of these; None: they need none."""
    only_1_3: bool = False
    credential: str = ""
    """Name of one in the gateway's own namespace, instead of files."""
    mutual: bool = False
    """With a credential: clients must have a certificate of one of its authorities."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and key, PEM. The key shows in no text form."""

    chain_pem: str
    key_pem: str = field(repr=False)
    authorities_pem: str = ""


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """A port of a gateway and the hosts that it answers there."""

    port: int
    hosts: tuple[str, ...]
    """Names, `*.suffix` or `*`."""
    namespaces: tuple[str, ...] = ()
    """The namespace that each host's rules must come from, parallel to `hosts`; `*` for any."""
    protocol: Protocol = Protocol.HTTP
    """TLS: passed through by server name. With `tls`, what is within it."""
    tls: GatewayTls | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """An edge of the mesh: the proxies whose labels it selects."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    servers: tuple[GatewayServer, ...]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Immutable, compared by identity: parts of snapshots are remembered for as long as it lives."""

    settings: MeshSettings = field(default_factory=MeshSettings)
    services: Mapping[str, Service] = field(default_factory=dict)
    """By full host name, sorted."""
    routes: tuple[HostRoutes, ...] = ()
    """Oldest first."""
    destinations: Mapping[tuple[str, str], DestinationPolicy] = field(default_factory=dict)
    """By the rule's namespace and the host's full name."""
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    """By `NAMESPACE/NAME`."""
    credentials: Mapping[tuple[str, str], Credential] = field(default_factory=dict)
    """By namespace and name; a gateway gets those of its own namespace that its servers name."""
    peers: PeerPolicies = field(default_factory=PeerPolicies)
    addons: Addons = field(default_factory=Addons)
    filters: tuple[PythonFilter, ...] = ()
    """In the order in which requests meet them."""
    instances: Mapping[WorkloadKey, tuple[Behind, ...]] | None = None
    """What the services say of workloads, where it is known already."""
    shape: object = field(default_factory=object, repr=False)
    """Everything but the instances of services that have addresses of their own: the same object from one mesh to the
    next while all that is the same."""
    parts: dict[object, Any] = field(default_factory=dict, repr=False)
    """What generation remembers of this mesh; follows from the rest alone."""

    def destination(self, service: Service, client_namespace: str) -> DestinationPolicy:
        """What holds for a client: a rule of its own namespace, else of the service's, else of a root namespace."""
        for namespace in (client_namespace, service.namespace, *self.settings.root_namespaces):
            found = self.destinations.get((namespace, service.host))
            if found is not None:
                return found
        return NO_POLICY

    def services_of(self, namespace: str, workload: str, port: int) -> list[Service]:
        """The services whose port of this number a workload is an instance of, by host; a pod's port is its own."""
        found = [service for service, _ in self._behind(namespace, workload, port)]
        return [service for index, service in enumerate(found) if index == 0 or found[index - 1] is not service]

    def protocol_of(self, namespace: str, workload: str, port: int) -> Protocol | None:
        """What the services whose port a workload stands behind say of it; None: nothing."""
        for service, number in self._behind(namespace, workload, port):
            known = service.port(number)
            if known is not None and known.protocol is not Protocol.AUTO:
                return known.protocol
        return None

    def behind(self, namespace: str, workload: str) -> tuple[Behind, ...]:
        """The services that a workload is an instance of."""
        found = self.instances
        if found is None:
            found = self.parts.get(instances)
            if found is None:
                found = self.parts[instances] = instances(self.services.values())
        return found.get((namespace, workload), ())

    def _behind(self, namespace: str, workload: str, port: int) -> Iterator[tuple[Service, int]]:
        """The services, and their own ports' numbers, that lead to a workload's port."""
        for host, number, at in self.behind(namespace, workload):
            if at == port:
                yield self.services[host], number

    def addressed(self, proxy: Proxy) -> frozenset[Labels]:
        """Of the labels by which routes choose whom they are for, those that the proxy has."""
        chosen: set[Labels] | None = self.parts.get("chosen")
        if chosen is None:
            chosen = {route.audience.labels for rule in self.routes for route in rule.routes}
            chosen |= {route.audience.labels for rule in self.routes for route in rule.connections}
            chosen.discard(())  # which everybody has
            self.parts["chosen"] = chosen
        return frozenset(labels for labels in chosen if dict(labels).items() <= proxy.labels.items())
