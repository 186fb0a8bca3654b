"""An upstream: how to find its endpoints, choose one and talk to it. CDS `Cluster`."""

from dataclasses import dataclass
from enum import Enum

from sidecar.config.endpoint import Endpoint
from sidecar.config.outlier import OutlierDetection


class Discovery(Enum):
    """Where a cluster's endpoints come from."""

    EDS = "eds"
    STATIC = "static"
    DNS = "dns"  # STRICT_DNS and LOGICAL_DNS: resolved by the worker
    ORIGINAL = "original"  # ORIGINAL_DST: wherever the client's redirected connection was going


class Balancing(Enum):
    """How one endpoint is chosen."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"
    RANDOM = "random"


class Protocol(Enum):
    """What an upstream is spoken to in, by requests; connections that are relayed as bytes have none."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    """From the first byte on (prior knowledge)."""
    AUTO = "auto"
    """What the upstream chose by ALPN; HTTP/1.1 where there is no TLS."""
    DOWNSTREAM = "downstream"
    """What the client speaks; of clusters by original destination alone."""


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS towards an upstream. `certificate` and `validation` name secrets of the same snapshot."""

    sni: str | None = None
    certificate: str | None = None
    """Our own certificate's secret name; None sends none."""
    validation: str | None = None
    """The trust anchors' secret name; None uses the system's (origination to the outside)."""
    sans: tuple[str, ...] = ()
    """The peer must have one of these as URI SAN (exact) or, where it is no URI, as DNS SAN.

    Empty: any name of a trusted issuer."""
    alpn: tuple[str, ...] = ()
    only_where_offered: bool = False
    """Use TLS only for endpoints with `tls` set; plaintext for the others (Istio's automatic mTLS)."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Circuit breakers; Istio's defaults are 2^32-1, these are ours."""

    max_connections: int = 1024
    max_pending: int = 1024
    max_requests: int = 1024
    max_retries: int = 3


@dataclass(frozen=True, slots=True)
class Http2:
    """How HTTP/2 is spoken to an upstream."""

    max_streams: int = 100
    """At once on one connection, where the endpoint allows more: they share the connection's window."""
    stream_window_bytes: int = 256 * 1024
    """Of an answer's body that an endpoint may send ahead of its client."""
    connection_window_bytes: int = 1024 * 1024
    """The same for all streams of a connection together."""
    ping_interval_s: float = 0.0
    """A connection is asked this often whether its endpoint is still there; 0: never."""
    ping_timeout_s: float = 0.0
    """... and cut when nothing at all has come this long behind the question."""


@dataclass(frozen=True, slots=True)
class TcpKeepAlive:
    """The kernel's own questions on a connection that is silent; 0: as the system is set."""

    time_s: int = 0
    """Of silence before the first."""
    interval_s: int = 0
    """Between two."""
    probes: int = 0
    """So many unanswered end the connection."""


@dataclass(frozen=True, slots=True)
class Service:
    """Which service a cluster stands for, for metric labels."""

    host: str = "unknown"
    name: str = "unknown"
    namespace: str = "unknown"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One upstream, endpoints included (the agent joins CDS and EDS)."""

    name: str
    discovery: Discovery = Discovery.STATIC
    endpoints: tuple[Endpoint, ...] = ()
    balancing: Balancing = Balancing.LEAST_REQUEST
    connect_timeout_s: float = 10.0
    tls: UpstreamTls | None = None
    thresholds: Thresholds = Thresholds()
    service: Service = Service()
    idle_timeout_s: float = 50.0
    """A pooled connection unused this long is closed; below the usual 60 s of servers, so that ours ends first."""
    max_requests_per_connection: int = 0
    """0: no limit."""
    buffer_bytes: int = 64 * 1024
    """More than this of a request unsent pauses its client; a quarter of it resumes."""
    dns_refresh_s: float = 5.0
    protocol: Protocol = Protocol.HTTP1
    http2: Http2 = Http2()
    tcp_keepalive: TcpKeepAlive | None = None
    """None: the kernel asks nothing."""
    source_addresses: tuple[str, ...] = ()
    """Connect from the first of these that is of the endpoint's family; empty: as the system chooses."""
    cleanup_s: float = 5.0
    """By original destination: addresses that nobody used for so long are forgotten."""
    outlier: OutlierDetection | None = None
    """None: however an endpoint answers, it is used."""
    panic_percent: float = 50.0
    """With fewer healthy endpoints than this, all are used, healthy or not; 0: never."""
    overprovisioning_percent: int = 140
    """A priority is thought able to carry its healthy endpoints' share of the requests times this."""
