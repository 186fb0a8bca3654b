"""Spans of sampled requests: number, kind, parents, attributes."""

from typing import Any

import pytest

from sidecar.config.listener import Direction
from sidecar.config.messages import Span
from sidecar.telemetry.record import RequestRecord
from tests.sidecar.telemetry.conftest import INBOUND, OUTBOUND, RATINGS, Bench, sampled

_CALLER_ID = "spiffe://cluster.local/ns/default/sa/productpage"


def _spans(bench: Bench, record: RequestRecord) -> list[Span]:
    bench.finish(record)
    return bench.spans()


def _outbound(bench: Bench, direction: Direction = Direction.OUTBOUND, **fields: Any) -> list[Span]:
    fields = {
        "target": bench.telemetry.target("default", OUTBOUND),
        "upstream": bench.telemetry.upstream(OUTBOUND, RATINGS, secure=True),
        "trace": sampled(),
        **fields,
    }
    return _spans(bench, bench.request(bench.downstream(direction), **fields))


def _inbound(bench: Bench, **fields: Any) -> list[Span]:
    fields = {"target": bench.telemetry.target("default", INBOUND), "trace": sampled(), **fields}
    return _spans(bench, bench.request(bench.downstream(Direction.INBOUND, principal=_CALLER_ID), **fields))


def test_outbound_is_one_client_span(bench: Bench) -> None:
    (span,) = _outbound(bench, user_agent=b"curl/8", request_id=b"id-1", attempts=3, bytes_received=1, bytes_sent=2)
    assert (span.trace_id, span.span_id, span.parent_id) == ("a" * 32, "b" * 16, "c" * 16)
    assert (span.server, span.error, span.name) == (False, False, "GET ratings")
    assert (span.start_ns, span.end_ns - span.start_ns) == (1769860800 * 10**9, 2_000_000)
    assert dict(span.attributes) == {
        "http.request.method": "GET", "url.scheme": "http", "url.path": "/ratings/0", "server.address": "ratings",
        "server.port": "9080", "network.protocol.name": "http", "network.protocol.version": "1.1",
        "http.request.body.size": "1", "http.response.body.size": "2", "guid:x-request-id": "id-1",
        "remora.route": "default", "upstream_cluster.name": OUTBOUND.name, "peer.service": "ratings",
        "network.peer.address": "10.0.0.9", "network.peer.port": "9080", "destination.workload": "ratings-v1",
        "http.request.resend_count": "2", "response_flags": "-", "http.response.status_code": "200",
    }  # fmt: skip


def test_inbound_is_one_server_span(bench: Bench) -> None:
    (span,) = _inbound(bench, user_agent=b"curl/8")
    assert (span.span_id, span.parent_id, span.server) == ("b" * 16, "c" * 16, True)
    attributes = dict(span.attributes)
    assert attributes["client.address"] == "127.0.0.1"
    assert attributes["user_agent.original"] == "curl/8"
    assert attributes["source.principal"] == _CALLER_ID


def test_a_gateway_has_a_client_span_within_its_server_span(bench: Bench) -> None:
    server, client = _outbound(bench, Direction.GATEWAY, trace=sampled(client_id=b"d" * 16, parent_id=None))
    assert (server.server, server.span_id, server.parent_id) == (True, "b" * 16, None)
    assert (client.server, client.span_id, client.parent_id) == (False, "d" * 16, "b" * 16)


def test_a_gateways_own_answer_has_no_client_span(bench: Bench) -> None:
    trace = sampled(client_id=b"d" * 16)
    (span,) = _outbound(bench, Direction.GATEWAY, trace=trace, target=None, upstream=None, status=404, flags="NR")
    assert span.server
    assert dict(span.attributes)["response_flags"] == "NR"


@pytest.mark.parametrize(
    ("status", "client", "server"), [(200, False, False), (302, False, False), (404, True, False), (503, True, True)]
)
def test_errors_are_the_clients_view_and_the_servers(bench: Bench, status: int, client: bool, server: bool) -> None:
    (outgoing,) = _outbound(bench, status=status)
    (incoming,) = _inbound(bench, status=status)
    assert (outgoing.error, incoming.error) == (client, server)
    assert (dict(outgoing.attributes).get("error.type") == str(status)) is client


def test_a_client_that_left_is_an_error_without_a_status(bench: Bench) -> None:
    (span,) = _inbound(bench, status=0, flags="DC")
    assert span.error
    attributes = dict(span.attributes)
    assert attributes["error.type"] == "client_gone"
    assert "http.response.status_code" not in attributes


def test_an_unknown_method_does_not_become_a_name(bench: Bench) -> None:
    (span,) = _outbound(bench, method=b"BREW")
    assert span.name == "HTTP ratings"
    attributes = dict(span.attributes)
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == ("_OTHER", "BREW")


def test_a_query_never_reaches_a_span(bench: Bench) -> None:
    (span,) = _outbound(bench, url=b"/login?password=secret")
    assert "secret" not in repr(span)


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [(b"a.b:80", "a.b", "80"), (b"a.b", "a.b", None), (b"[::1]:80", "::1", "80"), (b"[::1]", "::1", None)],
)
def test_hosts_and_ports_are_taken_apart(bench: Bench, authority: bytes, host: str, port: str | None) -> None:
    (span,) = _outbound(bench, authority=authority)
    attributes = dict(span.attributes)
    assert (attributes["server.address"], attributes.get("server.port")) == (host, port)


@pytest.mark.parametrize("trace", [None, sampled(flags=0)])
def test_what_is_not_sampled_has_no_span(bench: Bench, trace: Any) -> None:
    assert _outbound(bench, trace=trace) == []


def test_no_span_where_the_listener_does_not_trace(bench: Bench) -> None:
    assert _spans(bench, bench.request(bench.downstream(trace=False), trace=sampled())) == []


def test_grpc_calls_tell_their_status(bench: Bench) -> None:
    (span,) = _outbound(bench, grpc_status=5)
    assert dict(span.attributes).items() >= {"rpc.system": "grpc", "rpc.grpc.status_code": "5"}.items()
