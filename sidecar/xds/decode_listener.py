"""LDS `Listener`: address, direction, filter chains that end in an HTTP connection manager or a TCP proxy."""

from dataclasses import dataclass, replace

from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from sidecar.config.listener import Direction, FilterChain, Listener, TransportMatch
from sidecar.xds.decode_addresses import decode_address, decode_ranges
from sidecar.xds.decode_http import decode_http
from sidecar.xds.decode_tcp import decode_tcp
from sidecar.xds.decode_tls import decode_downstream_tls
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.needs import Decoding

_TRANSPORTS = {"": TransportMatch.ANY, "tls": TransportMatch.TLS, "raw_buffer": TransportMatch.RAW}
_TLS_INSPECTOR = TlsInspector.DESCRIPTOR.full_name
_ORIGINAL_DST = OriginalDst.DESCRIPTOR.full_name
_HTTP = HttpConnectionManager.DESCRIPTOR.full_name
_MAX_DETECTION_S = 60.0
MIN_BUFFER_BYTES = 1024
MAX_BUFFER_BYTES = 64 * 1024 * 1024
"""Of unsent answers per connection: less would stall, more is no bound."""

_SEEN_IN_PLAINTEXT = ("http/1.0", "http/1.1", "h2c")
"""What Envoy's http_inspector tells of a connection."""

_LISTENER_FILTER_CLASSES = by_name(TlsInspector, HttpInspector, OriginalDst)
_NETWORK_FILTER_CLASSES = by_name(HttpConnectionManager, TcpProxy)


@dataclass(slots=True)
class _Detection:
    """What a listener finds out about a connection before it chooses a chain."""

    tls: bool = False
    http: bool = False
    destination: bool = False
    timeout_s: float = 15.0  # Envoy's
    serve_undetected: bool = False


def decode_listener(fields: Fields, decoding: Decoding) -> Listener:
    name = fields.text("name")
    fields.informational("stat_prefix", "metadata", "tcp_backlog_size")
    buffer_bytes = fields.wrapped("per_connection_buffer_limit_bytes", None)
    if buffer_bytes is not None and not MIN_BUFFER_BYTES <= buffer_bytes <= MAX_BUFFER_BYTES:
        why = f"must be from {MIN_BUFFER_BYTES} to {MAX_BUFFER_BYTES}"
        raise fields.reject("per_connection_buffer_limit_bytes", why)
    address = decode_address(fields.must("address"))
    if address.port == 0:
        raise fields.reject("address.socket_address.port_value", "must not be 0")
    bound = fields.wrapped("bind_to_port", True)
    hand_over = fields.wrapped("use_original_dst", False)
    if hand_over and not bound:
        raise fields.reject("use_original_dst", "needs a socket: a listener that has none is itself handed connections")
    detection = _decode_detection(fields)
    direction = _decode_direction(fields, decoding)
    chains = [_decode_chain(each, decoding, direction, detection) for each in fields.children("filter_chains")]
    default = fields.child("default_filter_chain")
    if default is not None and default.has("filter_chain_match"):
        raise default.reject("filter_chain_match", "the default chain takes every connection")
    if not chains and default is None:
        raise fields.reject("filter_chains", "is required")
    if default is not None:
        chains.append(_decode_chain(default, decoding, direction, detection))
    if buffer_bytes is not None:
        chains = [_buffering(chain, buffer_bytes) for chain in chains]
    default_chain = None if default is None else chains.pop()
    seen: set[object] = set()
    for at, chain in enumerate(chains):
        key = (
            chain.destination_port,
            chain.destinations,
            chain.transport,
            chain.server_names,
            chain.application_protocols,
        )
        if key in seen:
            raise fields.reject(f"filter_chains[{at}].filter_chain_match", "another chain has the same conditions")
        seen.add(key)
    return Listener(
        name=name,
        address=address,
        direction=direction,
        filter_chains=tuple(chains),
        default_chain=default_chain,
        detect_tls=detection.tls,
        detect_http=detection.http,
        detect_timeout_s=detection.timeout_s,
        serve_undetected=detection.serve_undetected,
        bound=bound,
        original_destination=bound and (detection.destination or hand_over),
        hand_over=hand_over,
    )


def _buffering(chain: FilterChain, buffer_bytes: int) -> FilterChain:
    if chain.http is not None:
        return replace(chain, http=replace(chain.http, buffer_bytes=buffer_bytes))
    assert chain.tcp is not None
    return replace(chain, tcp=replace(chain.tcp, buffer_bytes=buffer_bytes))


def _decode_direction(fields: Fields, decoding: Decoding) -> Direction:
    direction = fields.enum("traffic_direction")
    if decoding.gateway:
        return Direction.GATEWAY
    if direction == "UNSPECIFIED":
        raise fields.reject("traffic_direction", "is required for a sidecar: INBOUND or OUTBOUND")
    return Direction.INBOUND if direction == "INBOUND" else Direction.OUTBOUND


def _decode_detection(fields: Fields) -> _Detection:
    found = _Detection()
    for each in fields.children("listener_filters"):
        each.informational("name")
        unpacked = each.unpacked("typed_config", _LISTENER_FILTER_CLASSES)
        if unpacked is None:
            raise each.reject("typed_config", "is required")
        kind, message = unpacked
        if kind == _TLS_INSPECTOR:
            message.informational("enable_ja3_fingerprinting")
            found.tls = True
        elif kind == _ORIGINAL_DST:
            found.destination = True
        else:
            found.http = True
    timeout_s = fields.seconds("listener_filters_timeout", None)
    if timeout_s is not None:
        if not 0 < timeout_s <= _MAX_DETECTION_S:
            raise fields.reject("listener_filters_timeout", f"must be more than 0 and at most {_MAX_DETECTION_S:.0f} s")
        found.timeout_s = timeout_s
    found.serve_undetected = bool(fields.value("continue_on_listener_filters_timeout"))
    return found


def _decode_chain(fields: Fields, decoding: Decoding, direction: Direction, detection: _Detection) -> FilterChain:
    fields.informational("name", "metadata")
    chain = _decode_match(fields, detection)
    filters = fields.children("filters")
    if len(filters) != 1:
        raise fields.reject("filters", "must be one HTTP connection manager or one TCP proxy")
    filters[0].informational("name")
    unpacked = filters[0].unpacked("typed_config", _NETWORK_FILTER_CLASSES)
    if unpacked is None:
        raise filters[0].reject("typed_config", "is required")
    socket = fields.child("transport_socket")
    tls = decode_downstream_tls(socket, decoding) if socket is not None else None
    if tls is not None and chain.transport is TransportMatch.RAW:
        raise fields.reject("transport_socket", "a chain that matches raw_buffer cannot terminate TLS")
    kind, message = unpacked
    if kind != _HTTP:
        return replace(chain, tcp=decode_tcp(message, decoding), tls=tls)
    http = decode_http(message, decoding)
    if direction is Direction.INBOUND and chain.transport is TransportMatch.RAW:
        # Beside a chain for mutual TLS, plaintext comes from outside the mesh: nothing it claims is believed.
        http = replace(http, trust_forwarded=False)
    return replace(chain, http=http, tls=tls)


def _decode_match(fields: Fields, detection: _Detection) -> FilterChain:
    """The conditions alone."""
    match = fields.child("filter_chain_match")
    if match is None:
        return FilterChain(TransportMatch.ANY)
    text = match.text("transport_protocol")
    if text not in _TRANSPORTS:
        raise match.reject("transport_protocol", f"{text!r} is not supported; supported: tls, raw_buffer")
    transport = _TRANSPORTS[text]
    names = match.texts("server_names")
    port = match.wrapped("destination_port", None)
    if port is not None and not 0 < port < 65_536:
        raise match.reject("destination_port", f"{port} is not a port")
    protocols = match.texts("application_protocols")
    if not detection.tls and (transport is TransportMatch.TLS or names):
        name = "server_names" if names else "transport_protocol"
        raise match.reject(name, "a chain that matches `tls` needs envoy.filters.listener.tls_inspector")
    if names and transport is TransportMatch.RAW:
        raise match.reject("server_names", "plaintext names no server")
    for at, name in enumerate(names):
        if not _is_server_name(name):
            raise match.reject(f"server_names[{at}]", f"{name[:100]!r} is neither a name nor *.suffix")
    for at, protocol in enumerate(protocols):
        in_plaintext = protocol in _SEEN_IN_PLAINTEXT and transport is not TransportMatch.TLS
        if not (detection.tls and transport is not TransportMatch.RAW) and not (detection.http and in_plaintext):
            needed = "http_inspector" if in_plaintext else "tls_inspector"
            raise match.reject(f"application_protocols[{at}]", f"{protocol[:100]!r} is not seen without {needed}")
    return FilterChain(
        transport,
        server_names=tuple(sorted({name.lower() for name in names})),
        application_protocols=tuple(sorted(set(protocols))),
        destination_port=port,
        destinations=decode_ranges(match, "prefix_ranges"),
    )


def _is_server_name(name: str) -> bool:
    labels = name.removeprefix("*.").split(".")
    return len(name) <= 253 and all(0 < len(label) <= 63 and "*" not in label and label.isascii() for label in labels)
