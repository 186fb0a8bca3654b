"""CDS `Cluster`. Its endpoints come by EDS unless it is static or found by DNS."""

from dataclasses import dataclass, replace

from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from sidecar.config.cluster import (
    Balancing,
    Cluster,
    Discovery,
    Http2,
    Protocol,
    Service,
    TcpKeepAlive,
    Thresholds,
    UpstreamTls,
)
from sidecar.xds.decode_addresses import decode_sources, expect_ads
from sidecar.xds.decode_endpoints import decode_endpoints
from sidecar.xds.decode_limits import MAX_WINDOW, decode_window
from sidecar.xds.decode_outlier import decode_outlier, decode_panic
from sidecar.xds.decode_tls import decode_upstream_tls
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.metadata import namespace
from sidecar.xds.needs import Decoding, LoadAssignment

_DISCOVERY = {
    "STATIC": Discovery.STATIC,
    "EDS": Discovery.EDS,
    "STRICT_DNS": Discovery.DNS,
    "LOGICAL_DNS": Discovery.DNS,
    "ORIGINAL_DST": Discovery.ORIGINAL,
}
_BALANCING = {
    "ROUND_ROBIN": Balancing.ROUND_ROBIN,
    "LEAST_REQUEST": Balancing.LEAST_REQUEST,
    "RANDOM": Balancing.RANDOM,
}
_NONE_TO_CHOOSE = {"CLUSTER_PROVIDED": Balancing.ROUND_ROBIN}
MIN_BUFFER_BYTES = 1024
MAX_BUFFER_BYTES = 64 * 1024 * 1024
"""Of a request unsent per connection: less would stall, more is no bound."""

MAX_KEEPALIVE_S = 32_767
MAX_KEEPALIVE_PROBES = 127
"""Linux's bounds for TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT."""

MIN_PING_S = 0.001
"""Envoy's least for a keep-alive's interval and time-out."""

_HTTP2 = Http2()
_OPTION_CLASSES = by_name(HttpProtocolOptions)
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DEFAULT_CONNECT_TIMEOUT_S = 5.0  # Envoy's
_DEFAULT_DNS_REFRESH_S = 5.0  # Envoy's
_DEFAULT_CLEANUP_S = 5.0  # Envoy's
MAX_CLEANUP_S = 3600.0
"""Longer would be never."""


def decode_cluster(fields: Fields, decoding: Decoding) -> Cluster:
    name = fields.text("name")
    fields.informational(
        "alt_stat_name",
        "dns_lookup_family",  # the worker's resolver tries what the system's does
    )
    if fields.which("cluster_discovery_type") == "cluster_type":
        raise fields.reject("cluster_type", "custom cluster types are not supported")
    discovery = _DISCOVERY[fields.only("type", _DISCOVERY)]
    connect_timeout_s = fields.seconds("connect_timeout", _DEFAULT_CONNECT_TIMEOUT_S)
    if not connect_timeout_s:
        raise fields.reject("connect_timeout", "must be more than 0")
    options = _decode_http_options(fields)
    original = discovery is Discovery.ORIGINAL
    if options.protocol is Protocol.DOWNSTREAM and not original:
        raise fields.reject(
            f"typed_extension_protocol_options[{_HTTP_OPTIONS}].use_downstream_protocol_config",
            "is supported in clusters of type ORIGINAL_DST alone",
        )
    balancing = _NONE_TO_CHOOSE if original else _BALANCING
    bind = fields.child("upstream_bind_config")
    loads = _decode_membership(fields, decoding, name, discovery)
    return Cluster(
        name=name,
        discovery=discovery,
        endpoints=loads.endpoints,
        balancing=balancing[fields.only("lb_policy", balancing)],
        connect_timeout_s=connect_timeout_s,
        tls=_decode_tls(fields, decoding),
        thresholds=_decode_thresholds(fields),
        service=_decode_service(fields),
        idle_timeout_s=options.idle_timeout_s,
        max_requests_per_connection=options.max_requests or fields.wrapped("max_requests_per_connection", 0),
        buffer_bytes=_decode_buffer(fields),
        dns_refresh_s=fields.seconds("dns_refresh_rate", None) or _DEFAULT_DNS_REFRESH_S,
        protocol=options.protocol,
        http2=options.http2,
        tcp_keepalive=_decode_tcp_keepalive(fields),
        source_addresses=() if bind is None else decode_sources(bind),
        cleanup_s=_decode_cleanup(fields) if original else _DEFAULT_CLEANUP_S,
        outlier=decode_outlier(fields, discovery),
        panic_percent=decode_panic(fields),
        overprovisioning_percent=loads.overprovisioning_percent,
    )


def _decode_cleanup(fields: Fields) -> float:
    fields.child("original_dst_lb_config")  # where to is what the connection says: no header, no other port
    seconds = fields.seconds("cleanup_interval", _DEFAULT_CLEANUP_S) or 0.0
    if not 0 < seconds <= MAX_CLEANUP_S:
        raise fields.reject("cleanup_interval", f"must be more than 0 and at most {MAX_CLEANUP_S:.0f} s")
    return seconds


def _decode_tcp_keepalive(fields: Fields) -> TcpKeepAlive | None:
    options = fields.child("upstream_connection_options")
    keepalive = None if options is None else options.child("tcp_keepalive")
    if keepalive is None:
        return None
    values = [keepalive.wrapped(name, 0) for name in ("keepalive_time", "keepalive_interval", "keepalive_probes")]
    for name, value in zip(("keepalive_time", "keepalive_interval", "keepalive_probes"), values, strict=True):
        most = MAX_KEEPALIVE_PROBES if name == "keepalive_probes" else MAX_KEEPALIVE_S
        if value > most:
            raise keepalive.reject(name, f"is more than {most}, which is all that the kernel takes")
    return TcpKeepAlive(*values)


def _decode_buffer(fields: Fields) -> int:
    size: int = fields.wrapped("per_connection_buffer_limit_bytes", Cluster("").buffer_bytes)
    if not MIN_BUFFER_BYTES <= size <= MAX_BUFFER_BYTES:
        why = f"must be from {MIN_BUFFER_BYTES} to {MAX_BUFFER_BYTES}"
        raise fields.reject("per_connection_buffer_limit_bytes", why)
    return size


def _decode_membership(fields: Fields, decoding: Decoding, name: str, discovery: Discovery) -> LoadAssignment:
    """Endpoints that the cluster brings itself; for EDS the name to subscribe to is noted instead."""
    if discovery is Discovery.EDS:
        eds = fields.must("eds_cluster_config")
        expect_ads(eds.must("eds_config"))
        decoding.assignments.add(eds.text("service_name") or name)
        return LoadAssignment(name, ())
    assignment = fields.child("load_assignment")
    if assignment is None:
        return LoadAssignment(name, ())
    if discovery is Discovery.ORIGINAL:
        raise fields.reject("load_assignment", "a cluster of type ORIGINAL_DST has no endpoints of its own")
    assignment.informational("cluster_name")
    return decode_endpoints(assignment, name, host_names=discovery is Discovery.DNS)


def _decode_thresholds(fields: Fields) -> Thresholds:
    breakers = fields.child("circuit_breakers")
    thresholds = Thresholds()
    if breakers is None:
        return thresholds
    for each in breakers.children("thresholds"):
        each.only("priority", ("DEFAULT",))
        each.informational("track_remaining")
        thresholds = Thresholds(
            max_connections=each.wrapped("max_connections", thresholds.max_connections),
            max_pending=each.wrapped("max_pending_requests", thresholds.max_pending),
            max_requests=each.wrapped("max_requests", thresholds.max_requests),
            max_retries=each.wrapped("max_retries", thresholds.max_retries),
        )
    return thresholds


def _decode_tls(fields: Fields, decoding: Decoding) -> UpstreamTls | None:
    """Either one socket for all endpoints, or Istio's pair: TLS for endpoints marked `tlsMode: istio`, else raw."""
    socket = fields.child("transport_socket")
    plain = decode_upstream_tls(socket, decoding) if socket is not None else None
    matches = fields.children("transport_socket_matches")
    if not matches:
        return plain
    if plain is not None:
        raise fields.reject("transport_socket", "must be plaintext beside transport_socket_matches")
    offered: UpstreamTls | None = None
    for index, match in enumerate(matches):
        match.informational("name")
        wanted = {key: value.string_value for key, value in match.value("match").fields.items()}
        tls = decode_upstream_tls(match.must("transport_socket"), decoding, only_where_offered=True)
        if wanted == {"tlsMode": "istio"} and tls is not None and index == 0:
            offered = tls
        elif wanted != {} or tls is not None or index != len(matches) - 1:
            raise match.reject("match", "supported: first `tlsMode: istio` with TLS, then everything else in plaintext")
    return offered


@dataclass(frozen=True, slots=True)
class _HttpOptions:
    """How requests are spoken to the upstream."""

    protocol: Protocol = Protocol.HTTP1
    idle_timeout_s: float = Cluster("").idle_timeout_s
    max_requests: int = 0
    """Per connection; 0: no limit."""
    http2: Http2 = _HTTP2


def _decode_http_options(fields: Fields) -> _HttpOptions:
    decoded = _HttpOptions()
    options = fields.unpacked_map("typed_extension_protocol_options", _OPTION_CLASSES)
    for key, (_, message) in options.items():
        if key != _HTTP_OPTIONS:
            raise fields.reject(f"typed_extension_protocol_options[{key}]", "is not supported")
        protocol, http2 = _decode_protocol(message)
        decoded = replace(decoded, protocol=protocol, http2=http2)
        common = message.child("common_http_protocol_options")
        if common is not None:
            decoded = replace(
                decoded,
                idle_timeout_s=common.seconds("idle_timeout", None) or decoded.idle_timeout_s,
                max_requests=common.wrapped("max_requests_per_connection", 0),
            )
    return decoded


def _decode_protocol(options: Fields) -> tuple[Protocol, Http2]:
    kind = options.which("upstream_protocol_options")
    if kind is None:
        return Protocol.HTTP1, _HTTP2
    if kind == "use_downstream_protocol_config":
        same = options.must(kind)
        same.child("http_protocol_options")
        return Protocol.DOWNSTREAM, _decode_http2(same.child("http2_protocol_options"))
    if kind == "auto_config":
        auto = options.must(kind)
        auto.child("http_protocol_options")
        return Protocol.AUTO, _decode_http2(auto.child("http2_protocol_options"))
    if kind != "explicit_http_config":
        raise options.reject(
            kind, "only explicit_http_config, auto_config, use_downstream_protocol_config are supported"
        )
    explicit = options.must(kind)
    protocol = explicit.which("protocol_config")
    if protocol == "http2_protocol_options":
        return Protocol.HTTP2, _decode_http2(explicit.must(protocol))
    if protocol != "http_protocol_options":
        raise explicit.reject(protocol or "", "only http_protocol_options and http2_protocol_options are supported")
    explicit.must(protocol)
    return Protocol.HTTP1, _HTTP2


def _decode_http2(fields: Fields | None) -> Http2:
    default = _HTTP2
    if fields is None:
        return default
    fields.informational("allow_connect")  # routes say what is allowed; an upgrade needs the endpoint's offer besides
    streams = fields.wrapped("max_concurrent_streams", default.max_streams)
    if not 0 < streams <= MAX_WINDOW:
        raise fields.reject("max_concurrent_streams", f"must be from 1 to {MAX_WINDOW}")
    interval_s = timeout_s = 0.0
    keepalive = fields.child("connection_keepalive")
    if keepalive is not None:
        interval_s = keepalive.seconds("interval", None) or 0.0
        timeout_s = keepalive.seconds("timeout", None) or 0.0
        for name, seconds in (("interval", interval_s), ("timeout", timeout_s)):
            if seconds < MIN_PING_S:
                raise keepalive.reject(name, "must be at least 0.001s")
    return Http2(
        max_streams=streams,
        stream_window_bytes=decode_window(fields, "initial_stream_window_size", default.stream_window_bytes),
        connection_window_bytes=decode_window(
            fields, "initial_connection_window_size", default.connection_window_bytes
        ),
        ping_interval_s=interval_s,
        ping_timeout_s=timeout_s,
    )


def _decode_service(fields: Fields) -> Service:
    """Istio's note of the services behind a cluster; the first one names it in metrics."""
    services = namespace(fields, "istio").get("services")
    if not isinstance(services, list) or not services or not isinstance(services[0], dict):
        return Service()
    first = {key: value for key, value in services[0].items() if isinstance(value, str) and value}
    return Service(first.get("host", "unknown"), first.get("name", "unknown"), first.get("namespace", "unknown"))
