"""LDS `Listener`: address, direction, filter chains that end in an HTTP connection manager."""

from dataclasses import replace

from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from sidecar.config.listener import Direction, FilterChain, Listener, TransportMatch
from sidecar.xds.decode_addresses import decode_address
from sidecar.xds.decode_http import decode_http
from sidecar.xds.decode_tls import decode_downstream_tls
from sidecar.xds.fields import Fields, by_name
from sidecar.xds.needs import Decoding

_TRANSPORTS = {"": TransportMatch.ANY, "tls": TransportMatch.TLS, "raw_buffer": TransportMatch.RAW}
_INSPECTOR = TlsInspector.DESCRIPTOR.full_name


_LISTENER_FILTER_CLASSES = by_name(TlsInspector, OriginalDst)
_NETWORK_FILTER_CLASSES = by_name(HttpConnectionManager)


def decode_listener(fields: Fields, decoding: Decoding) -> Listener:
    name = fields.text("name")
    fields.informational("stat_prefix", "metadata", "per_connection_buffer_limit_bytes", "tcp_backlog_size")
    address = decode_address(fields.must("address"))
    if address.port == 0:
        raise fields.reject("address.socket_address.port_value", "must not be 0")
    if not fields.wrapped("bind_to_port", True):
        raise fields.reject("bind_to_port", "listeners without a socket are not supported")
    inspect_tls, original = _decode_listener_filters(fields)
    direction = _decode_direction(fields, decoding)
    chains = [_decode_chain(each, decoding, direction) for each in fields.children("filter_chains")]
    default = fields.child("default_filter_chain")
    if default is not None:
        if default.has("filter_chain_match"):
            raise default.reject("filter_chain_match", "the default chain takes every connection")
        chains.append(_decode_chain(default, decoding, direction))
    if not chains:
        raise fields.reject("filter_chains", "is required")
    if not inspect_tls and any(chain.transport is TransportMatch.TLS for chain in chains):
        raise fields.reject("listener_filters", "a chain that matches `tls` needs envoy.filters.listener.tls_inspector")
    return Listener(
        name=name,
        address=address,
        direction=direction,
        filter_chains=tuple(chains),
        detect_tls=inspect_tls,
        original_destination=original or bool(fields.wrapped("use_original_dst", False)),
    )


def _decode_direction(fields: Fields, decoding: Decoding) -> Direction:
    direction = fields.enum("traffic_direction")
    if decoding.gateway:
        return Direction.GATEWAY
    if direction == "UNSPECIFIED":
        raise fields.reject("traffic_direction", "is required for a sidecar: INBOUND or OUTBOUND")
    return Direction.INBOUND if direction == "INBOUND" else Direction.OUTBOUND


def _decode_listener_filters(fields: Fields) -> tuple[bool, bool]:
    """(look for TLS, restore the original destination)."""
    inspect_tls = original = False
    for each in fields.children("listener_filters"):
        each.informational("name")
        unpacked = each.unpacked("typed_config", _LISTENER_FILTER_CLASSES)
        if unpacked is None:
            raise each.reject("typed_config", "is required")
        kind, message = unpacked
        if kind == _INSPECTOR:
            message.informational("enable_ja3_fingerprinting")
            inspect_tls = True
        else:
            original = True
    return inspect_tls, original


def _decode_chain(fields: Fields, decoding: Decoding, direction: Direction) -> FilterChain:
    fields.informational("name", "metadata")
    match = fields.child("filter_chain_match")
    transport = TransportMatch.ANY
    if match is not None:
        text = match.text("transport_protocol")
        if text not in _TRANSPORTS:
            raise match.reject("transport_protocol", f"{text!r} is not supported; supported: tls, raw_buffer")
        transport = _TRANSPORTS[text]
    filters = fields.children("filters")
    if len(filters) != 1:
        raise fields.reject("filters", "must be one HTTP connection manager")
    filters[0].informational("name")
    unpacked = filters[0].unpacked("typed_config", _NETWORK_FILTER_CLASSES)
    if unpacked is None:
        raise filters[0].reject("typed_config", "is required")
    socket = fields.child("transport_socket")
    tls = decode_downstream_tls(socket, decoding) if socket is not None else None
    if tls is not None and transport is TransportMatch.RAW:
        raise fields.reject("transport_socket", "a chain that matches raw_buffer cannot terminate TLS")
    http = decode_http(unpacked[1], decoding)
    if direction is Direction.INBOUND and transport is TransportMatch.RAW:
        # Beside a chain for mutual TLS, plaintext comes from outside the mesh: nothing it claims is believed.
        http = replace(http, trust_forwarded=False)
    return FilterChain(transport, http, tls)
