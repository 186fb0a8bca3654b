"""Zipkin's model of our spans, and what its server's answers mean."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.exporters.http import HttpBackend
from collectors.exporters.sink import Unavailable
from collectors.exporters.zipkin.settings import Settings
from collectors.exporters.zipkin.sink import ZipkinSink
from collectors.exporters.zipkin.spans import zipkin_span
from collectors.records import Batch
from tests.collectors.build import NOW, FakeClock, log, span
from tests.collectors.exporters.spans import HttpAnswers, records

NOW_US = int(NOW) * 1_000_000


def test_a_span_that_says_everything_says_it_in_zipkin_s_words() -> None:
    record = records()[1]
    assert zipkin_span(record) == {
        "traceId": f"{0xABCD:032x}",
        "id": record.span_id,
        "parentId": record.parent_id,
        "kind": "SERVER",
        "name": "productpage http 2",
        "timestamp": record.start_ns // 1000,
        "duration": 5000,
        "localEndpoint": {"serviceName": "productpage"},
        "annotations": [
            {"timestamp": (record.start_ns + 1_234) // 1000, "value": '"exception": {"exception.type": "KeyError"}'},
            {"timestamp": (record.start_ns + 9_999) // 1000, "value": "plain"},
        ],
        "tags": {
            "service.version": "v1",
            "text": "größer\n",
            "yes": "true",
            "whole": str(-(2**60)),
            "real": "0.1",
            "list": "[7]",
            "map": '{"k": "v"}',
            "otel.scope.name": "http",
            "otel.scope.version": "1.0",
            "w3c.tracestate": "vendor=1",
            "otel.status_code": "ERROR",
            "error": "no healthy upstream",
            "otel.dropped_attributes_count": "2",
            "otlp.link.0": f'{"ab" * 16}|{"cd" * 8}|a=b|{{"why":"retry"}}|0',
        },
    }


def test_kinds_and_states_map_as_specified() -> None:
    spans = [zipkin_span(record) for record in records()[:5]]
    assert [one.get("kind") for one in spans] == [None, "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
    assert [one["tags"].get("otel.status_code") for one in spans] == [None, "ERROR", "OK", None, None]
    assert ["error" in one["tags"] for one in spans] == [False, True, False, False, False]
    assert "parentId" not in spans[0]


def test_an_error_without_a_description_is_still_one_and_error_false_is_none() -> None:
    assert zipkin_span(span(1, 1, None, "a", error=True))["tags"]["error"] == ""
    assert "error" not in zipkin_span(span(1, 1, None, "a", attributes={"error": False}))["tags"]


@pytest.mark.parametrize(
    ("kind", "attributes", "endpoint"),
    [
        ("client", {"peer.service": "ratings", "server.address": "10.0.0.1"}, {"serviceName": "ratings"}),
        ("client", {"server.address": "ratings", "server.port": 9080}, {"serviceName": "ratings", "port": 9080}),
        ("client", {"server.address": "10.0.0.1", "server.port": "80"}, {"ipv4": "10.0.0.1", "port": 80}),
        ("client", {"network.peer.address": "::1", "network.peer.port": 80}, {"ipv6": "::1", "port": 80}),
        ("producer", {"net.sock.peer.addr": "10.0.0.2", "net.sock.peer.port": 1}, {"ipv4": "10.0.0.2", "port": 1}),
        ("client", {"db.name": "books"}, {"serviceName": "books"}),
        ("client", {"server.port": 80}, None),
        ("client", {"server.address": "a", "server.port": 70000}, {"serviceName": "a"}),
        ("client", {"server.address": 5}, None),
        ("server", {"server.address": "me", "client.address": "10.1.2.3"}, {"ipv4": "10.1.2.3"}),
        ("server", {"server.address": "me"}, None),
        ("internal", {"peer.service": "ratings"}, None),
    ],
)
def test_whom_a_span_talked_to(kind: str, attributes: dict[str, Any], endpoint: dict[str, Any] | None) -> None:
    assert zipkin_span(span(1, 1, None, "a", kind=kind, attributes=attributes)).get("remoteEndpoint") == endpoint


def test_a_span_that_took_no_time_took_a_microsecond_and_its_own_address_is_local() -> None:
    made = zipkin_span(
        span(1, 1, None, "a", ms=0, attributes={"network.local.address": "10.0.0.9", "network.local.port": 80})
    )
    assert (made["duration"], made["timestamp"]) == (1, NOW_US)
    assert made["localEndpoint"] == {"serviceName": "a", "ipv4": "10.0.0.9", "port": 80}


def sink_to(server: HttpAnswers) -> ZipkinSink:
    return ZipkinSink(HttpBackend(Settings.model_validate({"url": server.url, "compression": "none"}), FakeClock()))


async def test_a_batch_is_one_post_and_what_is_no_span_is_refused() -> None:
    async with HttpAnswers() as server:
        server.otherwise = (202, b"")
        sink = sink_to(server)
        hostile = span(2, 1, None, "a\udcff")
        outcome = await sink.send(Batch(spans=[*records(), hostile], logs=[log("a", "b")]))
        await sink.close()
        ((path, headers, body),) = server.requests
    assert (path, headers["content-type"]) == ("/api/v2/spans", "application/json")
    posted = json.loads(body)
    assert posted[:-1] == [zipkin_span(record) for record in records()]
    assert posted[-1]["localEndpoint"] == {"serviceName": "a?"}
    assert [refusal.why for refusal in outcome.refused] == ["this exporter sends traces"]


async def test_4xx_refuses_and_5xx_comes_again() -> None:
    async with HttpAnswers() as server:
        server.next = [(400, b"Malformed reading List<Span>", {}), (500, b"storage", {}), (503, b"", {})]
        sink = sink_to(server)
        outcome = await sink.send(Batch(spans=records()))
        assert len(outcome.refused) == len(records())
        assert outcome.refused[0].why == "answered 400: Malformed reading List<Span>"
        for _ in range(2):
            with pytest.raises(Unavailable):
                await sink.send(Batch(spans=records()))
        await sink.close()


def test_settings_take_the_server_s_address_alone() -> None:
    assert Settings.takes == {"traces"}
    with pytest.raises(ValidationError, match="leave /api/v2/spans off"):
        Settings.model_validate({"url": "http://127.0.0.1:9411/api/v2/spans"})
