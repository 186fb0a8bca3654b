"""Who is asking for configuration: everything about one proxy that its snapshot depends on, besides the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from control.ir.address import Address
from control.ir.services import Protocol


class ProxyKind(Enum):
    """What the proxy stands before."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class AppPort:
    """A port of the workload's service and where its application listens."""

    number: int
    app: Address
    name: str = "http"
    protocol: Protocol = Protocol.HTTP
    inbound: Address | None = None
    """Where connections for this port alone arrive; None: at the proxy's address, with those for others."""


@dataclass(frozen=True, slots=True)
class TcpOutbound:
    """An address at which the workload's application finds a port of a service."""

    host: str
    """As the workload wrote it."""
    port: int
    listen: Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """One registered workload's proxy."""

    node_id: str
    kind: ProxyKind
    workload: str
    namespace: str
    identity: str
    """SPIFFE URI."""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[AppPort, ...] = ()
    inbound: Address | None = None
    outbound: Address | None = None
    tcp_outbound: tuple[TcpOutbound, ...] = ()
    gateway_ports: Mapping[int, Address] = field(default_factory=dict)
    """Port number of a Gateway's server to the address that is bound for it."""
    addresses: tuple[str, ...] = ()
    """Of its pod, the main one first."""
    capture: bool = False
    """Connections from and to its application are redirected to it; `ports` are then the application's own."""
    finished: bool = False
    """Its application has ended and does not come back."""
    zone: str = ""
    """Where it runs; empty where that is not known. So are the next two."""
    region: str = ""
    subzone: str = ""

    @property
    def locality(self) -> tuple[str, str, str]:
        """Region, zone and subzone."""
        return self.region, self.zone, self.subzone

    def ports_by_address(self) -> dict[Address, tuple[AppPort, ...]]:
        """Where connections for which ports arrive."""
        found: dict[Address, tuple[AppPort, ...]] = {}
        for port in self.ports:
            at = port.inbound or self.inbound
            if at is not None:
                found[at] = (*found.get(at, ()), port)
        return found
