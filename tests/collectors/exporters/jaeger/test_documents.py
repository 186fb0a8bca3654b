"""Spans as Jaeger's documents."""

import pytest

from collectors.exporters.jaeger.dependencies import Calls, count_calls
from collectors.exporters.jaeger.documents import day_of, service_document, span_document, tag, trace_id_text
from collectors.exporters.jaeger.indices import Indices
from tests.collectors.build import NOW, span
from tests.collectors.exporters.spans import records


def test_a_span_that_says_everything_is_the_document_that_jaeger_writes() -> None:
    record = records()[1]
    start_us = record.start_ns // 1000
    assert span_document(record) == {
        "traceID": f"{0xABCD:016x}",
        "spanID": record.span_id,
        "flags": 1,
        "operationName": "productpage http 2",
        "references": [
            {"refType": "CHILD_OF", "traceID": f"{0xABCD:016x}", "spanID": record.parent_id},
            {"refType": "FOLLOWS_FROM", "traceID": "ab" * 16, "spanID": "cd" * 8},
        ],
        "startTime": start_us,
        "startTimeMillis": start_us // 1000,
        "duration": 5000,
        "tags": [
            {"key": "otel.scope.name", "type": "string", "value": "http"},
            {"key": "otel.scope.version", "type": "string", "value": "1.0"},
            {"key": "text", "type": "string", "value": "größer\n"},
            {"key": "yes", "type": "bool", "value": "true"},
            {"key": "whole", "type": "int64", "value": str(-(2**60))},
            {"key": "real", "type": "float64", "value": "0.1"},
            {"key": "list", "type": "string", "value": "[7]"},
            {"key": "map", "type": "string", "value": '{"k":"v"}'},
            {"key": "nothing", "type": "string", "value": ""},
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "otel.status_code", "type": "string", "value": "ERROR"},
            {"key": "error", "type": "bool", "value": "true"},
            {"key": "otel.status_description", "type": "string", "value": "no healthy upstream"},
            {"key": "w3c.tracestate", "type": "string", "value": "vendor=1"},
            {"key": "otel.dropped_attributes_count", "type": "int64", "value": "2"},
        ],
        "logs": [
            {
                "timestamp": (record.start_ns + 1_234) // 1000,
                "fields": [
                    {"key": "event", "type": "string", "value": "exception"},
                    {"key": "exception.type", "type": "string", "value": "KeyError"},
                ],
            },
            {
                "timestamp": (record.start_ns + 9_999) // 1000,
                "fields": [{"key": "event", "type": "string", "value": "plain"}],
            },
        ],
        "process": {
            "serviceName": "productpage",
            "tags": [{"key": "service.version", "type": "string", "value": "v1"}],
        },
    }


def test_a_link_says_itself_what_kind_it_is_and_an_event_may_name_itself() -> None:
    link = {
        "trace_id": "0a" * 16,
        "span_id": "0b" * 8,
        "trace_state": "",
        "attributes": {"opentracing.ref_type": "child_of"},
    }
    event = {"name": "log", "time_ns": 5_000, "attributes": {"event": "own", "b": b"\1"}}
    document = span_document(span(1, 1, None, "a", links=[link], events=[event]))
    assert document["references"] == [{"refType": "CHILD_OF", "traceID": "0a" * 16, "spanID": "0b" * 8}]
    assert document["logs"][0]["fields"] == [
        {"key": "event", "type": "string", "value": "own"},
        {"key": "b", "type": "binary", "value": "AQ=="},
    ]
    assert "flags" not in document


def test_a_service_s_document_has_jaeger_s_id() -> None:
    """FNV-1a of 64 bits of both names, in hex: known values of the function."""
    assert service_document("", "")[0] == "cbf29ce484222325"
    assert service_document("a", "")[0] == "af63dc4c8601ec8c"
    id_, document = service_document("foo", "bar")
    assert (id_, document) == ("85944171f73967e8", {"serviceName": "foo", "operationName": "bar"})


@pytest.mark.parametrize(
    ("trace_id", "shown"), [("0" * 16 + "00ab" * 4, "00ab" * 4), ("0" * 15 + "1" + "ab" * 8, "0" * 15 + "1" + "ab" * 8)]
)
def test_an_id_of_64_bits_has_16_digits(trace_id: str, shown: str) -> None:
    assert trace_id_text(trace_id) == shown


def test_numbers_beyond_a_float_s_are_kept_as_text() -> None:
    assert tag("n", float("inf")) == {"key": "n", "type": "float64", "value": "inf"}


def test_indices_are_by_day_of_utc_with_the_user_s_prefix() -> None:
    midnight_us = int(NOW) * 1_000_000 // 86_400_000_000 * 86_400_000_000
    assert (day_of(midnight_us - 1), day_of(midnight_us)) == ("2026-01-30", "2026-01-31")
    indices = Indices("prod")
    assert indices.spans(midnight_us - 1, midnight_us) == "prod-jaeger-span-2026-01-30,prod-jaeger-span-2026-01-31"
    assert Indices().service(midnight_us) == "jaeger-service-2026-01-31"
    (pattern,) = indices.templates(shards=3, replicas=0)[0].body["index_patterns"]
    assert pattern == "prod-jaeger-span-*"


def test_calls_are_counted_where_the_child_began_in_the_window_and_the_parent_is_of_another_service() -> None:
    documents = [
        span_document(one)
        for one in (
            span(1, 1, None, "a", start=NOW - 1),
            span(1, 2, 1, "a", start=NOW),
            span(1, 3, 2, "b", start=NOW),
            span(1, 4, 1, "b", start=NOW - 0.5),
            span(1, 5, 3, "c", start=NOW),
            span(1, 6, 99, "d", start=NOW),
        )
    ]
    calls: Calls = {}
    count_calls(documents, int(NOW * 1e6), calls)
    assert calls == {("a", "b"): 1, ("b", "c"): 1}
