"""Limits of an HTTP connection manager: Envoy's fields arrive, what can not be is rejected with its path."""

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.json_format import ParseDict

from sidecar.config.listener import Http
from sidecar.xds.decode_limits import A_DAY_S, with_limits
from sidecar.xds.fields import Fields
from sidecar.xds.rejected import Rejected


def decode(document: dict[str, Any]) -> Http:
    fields = Fields(ParseDict(document, HttpConnectionManager()))
    http = with_limits(fields, Http())
    fields.done()
    return http


def test_unset_fields_leave_our_defaults() -> None:
    assert decode({}) == Http()


def test_every_limit_arrives() -> None:
    http = decode(
        {
            "max_request_headers_kb": 96,
            "request_headers_timeout": "5s",
            "stream_idle_timeout": "6s",
            "request_timeout": "7.5s",
            "drain_timeout": "8s",
            "delayed_close_timeout": "0.5s",
            "common_http_protocol_options": {
                "idle_timeout": "9s",
                "max_headers_count": 50,
                "max_connection_duration": "10s",
                "max_stream_duration": "11s",
                "max_requests_per_connection": 12,
            },
            "http2_protocol_options": {
                "max_concurrent_streams": 13,
                "initial_stream_window_size": 70_000,
                "initial_connection_window_size": 80_000,
            },
        }
    )
    assert (http.max_header_bytes, http.max_headers) == (96 * 1024, 50)
    assert (http.request_headers_timeout_s, http.stream_idle_timeout_s, http.request_timeout_s) == (5.0, 6.0, 7.5)
    assert (http.drain_timeout_s, http.delayed_close_s, http.idle_timeout_s) == (8.0, 0.5, 9.0)
    assert (http.max_connection_duration_s, http.max_stream_duration_s) == (10.0, 11.0)
    assert (http.max_requests_per_connection, http.max_streams) == (12, 13)
    assert (http.stream_window_bytes, http.connection_window_bytes) == (70_000, 80_000)


def test_a_time_out_that_envoy_would_switch_off_becomes_a_day() -> None:
    http = decode(
        {
            "request_headers_timeout": "0s",
            "stream_idle_timeout": "0s",
            "common_http_protocol_options": {"idle_timeout": "0s"},
        }
    )
    assert {http.request_headers_timeout_s, http.stream_idle_timeout_s, http.idle_timeout_s} == {A_DAY_S}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"max_request_headers_kb": 9000}, "max_request_headers_kb"),
        ({"max_request_headers_kb": 0}, "max_request_headers_kb"),
        ({"common_http_protocol_options": {"max_headers_count": 0}}, "common_http_protocol_options.max_headers_count"),
        (
            {"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}},
            "common_http_protocol_options.headers_with_underscores_action",
        ),
        ({"http2_protocol_options": {"max_concurrent_streams": 0}}, "http2_protocol_options.max_concurrent_streams"),
        (
            {"http2_protocol_options": {"initial_stream_window_size": 1}},
            "http2_protocol_options.initial_stream_window_size",
        ),
        ({"http2_protocol_options": {"hpack_table_size": 1}}, "http2_protocol_options.hpack_table_size"),
    ],
)
def test_what_is_not_supported_is_rejected_with_its_path(document: dict[str, Any], path: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(document)
    assert caught.value.path == path
