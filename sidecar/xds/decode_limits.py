"""An HTTP connection manager's limits on heads, requests, connections and time: Envoy's fields, ours where unset.

https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts
"""

from dataclasses import replace

from sidecar.config.listener import Http
from sidecar.xds.fields import Fields

MAX_HEADERS_KB = 8192
"""Envoy's own ceiling for max_request_headers_kb."""

MIN_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
"""Envoy's bounds for HTTP/2's windows."""

A_DAY_S = 86_400.0
"""What 0 means for a time-out that Envoy would switch off: nothing may stay for ever."""


def with_limits(fields: Fields, http: Http) -> Http:
    """`http` with the limits that the manager names."""
    kib = fields.wrapped("max_request_headers_kb", http.max_header_bytes // 1024)
    if not 0 < kib <= MAX_HEADERS_KB:
        raise fields.reject("max_request_headers_kb", f"must be from 1 to {MAX_HEADERS_KB}")
    http = replace(
        http,
        max_header_bytes=kib * 1024,
        request_headers_timeout_s=_timeout(fields, "request_headers_timeout", http.request_headers_timeout_s),
        stream_idle_timeout_s=_timeout(fields, "stream_idle_timeout", http.stream_idle_timeout_s),
        request_timeout_s=fields.seconds("request_timeout", http.request_timeout_s) or 0.0,
        drain_timeout_s=fields.seconds("drain_timeout", None) or http.drain_timeout_s,
        delayed_close_s=_seconds(fields, "delayed_close_timeout", http.delayed_close_s),
    )
    common = fields.child("common_http_protocol_options")
    if common is not None:
        http = _with_common(common, http)
    h2 = fields.child("http2_protocol_options")
    return http if h2 is None else _with_h2(h2, http)


def _with_common(common: Fields, http: Http) -> Http:
    max_headers = common.wrapped("max_headers_count", http.max_headers)
    if not max_headers:
        raise common.reject("max_headers_count", "must be at least 1")
    return replace(
        http,
        idle_timeout_s=_timeout(common, "idle_timeout", http.idle_timeout_s),
        max_headers=max_headers,
        max_connection_duration_s=common.seconds("max_connection_duration", None) or 0.0,
        max_stream_duration_s=common.seconds("max_stream_duration", None) or 0.0,
        max_requests_per_connection=common.wrapped("max_requests_per_connection", 0),
    )


def _with_h2(h2: Fields, http: Http) -> Http:
    # Routes say which CONNECT is allowed; where they do, it may come by HTTP/2 as well.
    h2.informational("allow_connect")
    streams = h2.wrapped("max_concurrent_streams", http.max_streams)
    if not 0 < streams <= MAX_WINDOW:
        raise h2.reject("max_concurrent_streams", f"must be from 1 to {MAX_WINDOW}")
    return replace(
        http,
        max_streams=streams,
        stream_window_bytes=decode_window(h2, "initial_stream_window_size", http.stream_window_bytes),
        connection_window_bytes=decode_window(h2, "initial_connection_window_size", http.connection_window_bytes),
    )


def decode_window(h2: Fields, name: str, default: int) -> int:
    """One of HTTP/2's windows, octets."""
    size: int = h2.wrapped(name, default)
    if not MIN_WINDOW <= size <= MAX_WINDOW:
        raise h2.reject(name, f"must be from {MIN_WINDOW} to {MAX_WINDOW}")
    return size


def _seconds(fields: Fields, name: str, default: float) -> float:
    seconds = fields.seconds(name, None)
    return default if seconds is None else seconds


def _timeout(fields: Fields, name: str, default: float) -> float:
    """A time-out that must be there: 0, which switches it off in Envoy, becomes a day."""
    return _seconds(fields, name, default) or A_DAY_S
