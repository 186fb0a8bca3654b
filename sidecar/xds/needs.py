"""What a resource refers to by name, and what it is decoded to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Endpoint
from sidecar.config.listener import Listener
from sidecar.config.route import RouteConfiguration
from sidecar.config.secret import Certificate, TrustAnchors


@dataclass(frozen=True, slots=True)
class LoadAssignment:
    """EDS: the endpoints of every cluster whose `service_name` is `name`."""

    name: str
    endpoints: tuple[Endpoint, ...]
    overprovisioning_percent: int = Cluster("").overprovisioning_percent


@dataclass(frozen=True, slots=True)
class RuntimeLayer:
    """RTDS: what the control plane says of the application that the sidecar is beside."""

    name: str
    finished: bool = False
    """Every container of the application has ended and will not be started again."""
    names: Mapping[str, tuple[IPv4Address | IPv6Address, ...]] | None = None
    """The mesh's hosts and their addresses, for who answers DNS; None: the layer does not say."""


Value = Cluster | LoadAssignment | Listener | RouteConfiguration | Certificate | TrustAnchors | RuntimeLayer


@dataclass(frozen=True, slots=True)
class Needs:
    """Names that must be there before the resource can serve."""

    assignments: frozenset[str] = frozenset()
    """EDS service names; a cluster has at most one."""
    routes: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    """Secrets that come by SDS from the control plane; those that the agent makes itself are not among them."""
    clusters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decoded:
    """A resource that is understood."""

    name: str
    value: Value
    needs: Needs = field(default_factory=Needs)


@dataclass(slots=True)
class Decoding:
    """What decoders are told, and where they note what they come across."""

    gateway: bool
    """Whether this proxy stands at the mesh's edge."""
    assignments: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    clusters: set[str] = field(default_factory=set)

    def needs(self) -> Needs:
        return Needs(
            frozenset(self.assignments), frozenset(self.routes), frozenset(self.secrets), frozenset(self.clusters)
        )
