"""Where connections arrive and what happens to them first. LDS `Listener`."""

from dataclasses import dataclass
from enum import Enum

from sidecar.config.endpoint import Address
from sidecar.config.route import RouteConfiguration


class Direction(Enum):
    """Envoy's traffic direction; a gateway's listener is neither inbound nor outbound of a workload."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


class TransportMatch(Enum):
    """Which connections a filter chain takes, by their first bytes."""

    ANY = "any"
    TLS = "tls"
    RAW = "raw_buffer"


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    """TLS that we terminate. Secret names are of the same snapshot; TLS 1.2 at least, 1.3 within the mesh."""

    certificate: str
    validation: str | None = None
    require_client_certificate: bool = False
    alpn: tuple[str, ...] = ()
    min_version: str = "TLSv1.3"
    trust_domains: tuple[str, ...] = ()
    """The client's URI SAN must be of one of these SPIFFE trust domains; empty: any SAN of a trusted issuer."""


@dataclass(frozen=True, slots=True)
class Http:
    """HTTP connection manager."""

    route_name: str | None = None
    """RDS: the name of one of the snapshot's route configurations."""
    routes: RouteConfiguration | None = None
    """Inline; exactly one of the two is set."""
    sampling_percent: float = 100.0
    """Of requests without a `traceparent`; with one, its sampled flag decides."""
    access_log: bool = True
    trace: bool = True
    idle_timeout_s: float = 3600.0
    """A downstream connection without a request this long is closed."""
    request_headers_timeout_s: float = 60.0
    stream_idle_timeout_s: float = 300.0
    max_header_bytes: int = 60 * 1024
    max_headers: int = 100
    trust_forwarded: bool = False
    """Keep `x-forwarded-*`, `x-request-id`, `x-envoy-*` of the client (a sidecar's own application, an mTLS peer);
    otherwise they are dropped or replaced (the edge)."""
    fault_filter: bool = True
    server_name: str = "remora"


@dataclass(frozen=True, slots=True)
class FilterChain:
    """One way to treat a connection; the first chain whose transport matches takes it."""

    transport: TransportMatch
    http: Http
    tls: DownstreamTls | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound address. No chain matching a connection means that it is closed."""

    name: str
    address: Address
    direction: Direction
    filter_chains: tuple[FilterChain, ...]
    detect_tls: bool = False
    """Look at the first bytes (Envoy `tls_inspector`) before choosing a chain."""
    original_destination: bool = False
    """Connections arrive by iptables REDIRECT."""
