"""Services and their instances, without dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from control.ir.address import Address


class Resolution(Enum):
    """Where a proxy learns a service's addresses."""

    PUSHED = "pushed"  # the control plane sends them
    DNS = "dns"  # the proxy resolves them


class Protocol(Enum):
    """What a port speaks, as far as it makes a difference to proxies."""

    HTTP = "http"
    HTTP2 = "http2"
    """gRPC too."""
    TCP = "tcp"
    TLS = "tls"
    """Between application and application: relayed as bytes, a way chosen by server name."""
    AUTO = "auto"
    """Nobody has said: HTTP if a connection begins like it."""

    @property
    def requests(self) -> bool:
        """Whether requests are routed; else connections are."""
        return self in (Protocol.HTTP, Protocol.HTTP2)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that clients use."""

    number: int
    name: str = "http"
    protocol: Protocol = Protocol.HTTP


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance."""

    address: Address
    weight: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    """Its sidecar takes the mesh's mutual TLS at that address."""
    principal: str = ""
    """SPIFFE URI; empty where it has none."""
    workload: str = ""
    namespace: str = ""
    cluster_id: str = ""
    pod: bool = False
    """The address is the instance's own, port included, and not its sidecar's."""
    locality: tuple[str, str, str] = ("", "", "")
    """Region, zone and subzone; empty where they are not known."""
    zones: frozenset[str] = frozenset()
    """Whose clients it is for; empty: everyone's."""
    called: tuple[str, str, str] = ("", "", "")
    """The workload, canonical service and revision that telemetry is to name; empty: as `workload` and `labels` say."""


@dataclass(frozen=True, slots=True)
class Service:
    """A host that clients may name."""

    host: str
    name: str
    namespace: str
    ports: tuple[Port, ...]
    endpoints: Mapping[int, tuple[Endpoint, ...]] = field(default_factory=dict)
    """By the port's number."""
    resolution: Resolution = Resolution.PUSHED
    external: bool = False
    """Named by a ServiceEntry: known by its full name alone."""
    sans: tuple[str, ...] = ()
    """Names that the instances' certificates may have besides their own principals."""
    addresses: tuple[str, ...] = ()
    """Its own, by which captured connections to it are known. Empty: none, its instances' are meant."""

    def shows_as(self, other: "Service", *, by_address: bool = True) -> bool:
        """Whether the two differ in nothing but instances that no client chooses by address. `by_address`: there are
        clients that do, where a service has no address of its own."""
        if by_address and not self.addresses:
            return self == other
        return replace(self, endpoints=other.endpoints) == other

    def port(self, number: int) -> Port | None:
        """The port of that number."""
        return next((port for port in self.ports if port.number == number), None)

    @property
    def only_port(self) -> int | None:
        return self.ports[0].number if len(self.ports) == 1 else None
