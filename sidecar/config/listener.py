"""Where connections arrive and what happens to them first. LDS `Listener`."""

from dataclasses import dataclass
from enum import Enum

from sidecar.config.addon import Addon
from sidecar.config.endpoint import Address
from sidecar.config.python_filter import PythonFilter
from sidecar.config.route import RouteConfiguration


class Direction(Enum):
    """Envoy's traffic direction; a gateway's listener is neither inbound nor outbound of a workload."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


class Codec(Enum):
    """What a listener's connections speak."""

    AUTO = "auto"
    """By ALPN where TLS is ours, else by HTTP/2's preface."""
    HTTP1 = "http1"
    HTTP2 = "http2"


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
    request_timeout_s: float = 0.0
    """From a request's first line to its end; 0: no limit but the idle one."""
    max_stream_duration_s: float = 0.0
    """From a request's first line to its answer's end; 0: no limit."""
    max_connection_duration_s: float = 0.0
    """A connection this old ends with its present answers; 0: never."""
    max_requests_per_connection: int = 0
    """The last of them ends the connection; 0: no limit."""
    max_streams: int = 100
    """Of one HTTP/2 connection at once; the next is answered REFUSED_STREAM."""
    stream_window_bytes: int = 256 * 1024
    """Of a request's body that an HTTP/2 client may send ahead of its upstream."""
    connection_window_bytes: int = 1024 * 1024
    """The same for all streams of a connection together."""
    buffer_bytes: int = 64 * 1024
    """More than this of answers unsent pauses their upstream; a quarter of it resumes."""
    drain_timeout_s: float = 1.0
    """HTTP/2: from the GOAWAY that announces the end to the one that says which stream was the last, at most."""
    delayed_close_s: float = 1.0
    """How long what a client still sends is read and dropped after an early answer, so that the answer reaches it."""
    max_header_bytes: int = 60 * 1024
    max_headers: int = 100
    trust_forwarded: bool = False
    """Keep `x-forwarded-*`, `x-request-id`, `x-envoy-*` of the client (a sidecar's own application, an mTLS peer);
    otherwise they are dropped or replaced (the edge)."""
    fault_filter: bool = True
    server_name: str = "remora"
    codec: Codec = Codec.AUTO
    upgrades: tuple[str, ...] = ()
    """Protocols that HTTP/1.1 requests may ask to switch to, in lower case (`websocket`); a route may say otherwise."""
    filters: tuple[PythonFilter, ...] = ()
    """Filters that users wrote, in the order in which requests meet them."""
    addons: tuple[Addon, ...] = ()
    """Scripts that see requests on their way upstream, in this order."""


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A cluster's part of the connections."""

    cluster: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Tcp:
    """TCP proxy: bytes are relayed to one of the targets, drawn by weight for each connection."""

    targets: tuple[TcpTarget, ...]
    idle_timeout_s: float = 3600.0
    """A connection on which neither side has sent anything this long is closed; 0: never."""
    max_connect_attempts: int = 1
    """Endpoints that are tried before the connection is given up."""
    buffer_bytes: int = 256 * 1024
    """More than this unsent, to either side, stops reading from the other; a quarter of it resumes."""
    access_log: bool = True


@dataclass(frozen=True, slots=True)
class FilterChain:
    """One way to treat a connection, as requests or as bytes. The narrowest chain takes one, see
    `sidecar.listeners.match`."""

    transport: TransportMatch
    http: Http | None = None
    """Exactly one of `http` and `tcp` is set."""
    tls: DownstreamTls | None = None
    tcp: Tcp | None = None
    server_names: tuple[str, ...] = ()
    """By SNI, in lower case: `name` or `*.suffix`; empty: any, or none."""
    application_protocols: tuple[str, ...] = ()
    """By the ALPN that a ClientHello offers, or by what plaintext begins with (`http/1.0`, `http/1.1`, `h2c`)."""
    destination_port: int | None = None
    """By the port that the client meant; None: any."""
    destinations: tuple[str, ...] = ()
    """By the address that it meant, `10.0.0.0/8` or `fd00::/8`; empty: any."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address, usually with a socket. A connection that no chain takes is closed."""

    name: str
    address: Address
    direction: Direction
    filter_chains: tuple[FilterChain, ...]
    detect_tls: bool = False
    """Look at the first bytes (Envoy `tls_inspector`) before choosing a chain."""
    detect_http: bool = False
    """Look whether plaintext begins as HTTP does (Envoy `http_inspector`) before choosing a chain."""
    detect_timeout_s: float = 15.0
    """A connection that has not said by then what it is ..."""
    serve_undetected: bool = False
    """... is served as one that is neither TLS nor HTTP; otherwise it is closed."""
    default_chain: FilterChain | None = None
    """Takes what none of the others does."""
    bound: bool = True
    """False: it has no socket, and is handed the connections that were going to its address."""
    original_destination: bool = False
    """Connections are redirected here: ask where each was going (Envoy `original_dst`)."""
    hand_over: bool = False
    """... and give it to the listener of that address, where there is one (Envoy `use_original_dst`)."""

    @property
    def chains(self) -> tuple[FilterChain, ...]:
        """All of them, the default one last."""
        return self.filter_chains if self.default_chain is None else (*self.filter_chains, self.default_chain)
