"""Who is asking for configuration: everything about one proxy that its snapshot depends on, besides the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from control.ir.address import Address


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
    gateway_ports: Mapping[int, Address] = field(default_factory=dict)
    """Port number of a Gateway's server to the address that is bound for it."""
