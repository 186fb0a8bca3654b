"""What a small OTLP request can become: it is refused before anything is built of it, and never weighs nothing."""

import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collectors.receivers import otlp, otlp_metrics, otlp_traces
from collectors.receivers.forward_parser import EVENT_BYTES, ForwardParser
from collectors.receivers.otlp import Decoded, MalformedRequest
from collectors.receivers.otlp_bounds import (
    MAX_ELEMENTS,
    MAX_JSON_COMMAS,
    MAX_JSON_CONTAINERS,
    MAX_PARTS,
    RECORD_BYTES,
    TooMuch,
    check_elements,
    check_parts,
)
from collectors.receivers.otlp_deltas import Deltas
from collectors.receivers.otlp_metrics import MAX_QUANTILES
from tests.collectors.build import NOW
from tests.collectors.receivers.protobuf import field, nested

MANY = 2 * MAX_PARTS
REPEATED = r"repeats more than \d+ bytes of resources in its records"
FLAT_BYTES = 8 * 1024 * 1024

decode_logs = partial(otlp.decode_logs, judge=None, now=NOW)
decode_traces = partial(otlp_traces.decode_traces, judge=None)
decode_metrics = partial(otlp_metrics.decode_metrics, judge=None, now=NOW, deltas=Deltas())
Decode = Callable[[bytes], Decoded]


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        pytest.param(decode_logs, field(1, b"") * MANY, id="resources"),
        pytest.param(decode_logs, nested([1], field(2, b"") * MANY), id="scopes"),
        pytest.param(decode_logs, nested([1, 2], field(2, b"") * MANY), id="log records"),
        pytest.param(decode_traces, nested([1, 2], field(2, b"") * MANY), id="spans"),
        pytest.param(decode_metrics, nested([1, 2], field(2, b"") * MANY), id="metrics"),
        pytest.param(decode_metrics, nested([1, 2, 2, 5], field(1, b"") * MANY), id="points of a gauge"),
        pytest.param(decode_metrics, nested([1, 2, 2, 11], field(1, b"") * MANY), id="points of a summary"),
        pytest.param(decode_logs, nested([1, 2], field(900, b"") * MANY), id="fields that nobody knows"),
        pytest.param(decode_logs, field(1, field(2, field(2, b"") * (MAX_PARTS // 4))) * 8, id="many in many places"),
    ],
)
def test_what_has_too_many_parts_is_refused(decode: Decode, body: bytes) -> None:
    with pytest.raises(MalformedRequest, match=f"has more than {MAX_PARTS} parts; send smaller batches"):
        decode(body)


def test_as_many_parts_as_are_allowed_are_taken() -> None:
    # The resource, its scope, and the rest.
    body = nested([1, 2], field(2, b"") * (MAX_PARTS - 2))
    check_parts("ExportLogsServiceRequest", body)
    with pytest.raises(TooMuch):
        check_parts("ExportLogsServiceRequest", body + field(1, b""))


EMPTIES = MAX_ELEMENTS + 1


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        pytest.param(decode_logs, nested([1, 2, 2], field(6, b"") * EMPTIES), id="of one record"),
        pytest.param(decode_logs, nested([1, 2], field(2, field(6, b"") * 1_024) * 1_025), id="of many records"),
        pytest.param(decode_logs, nested([1, 2, 2], b"\xb2\x80\x00\x00" * EMPTIES), id="with keys that are too long"),
        pytest.param(decode_logs, nested([1, 1], field(1, b"") * EMPTIES), id="of a resource"),
        pytest.param(decode_logs, nested([1, 2, 1], field(3, b"") * EMPTIES), id="of a scope"),
        pytest.param(decode_logs, nested([1, 2, 2, 5, 5], field(1, b"") * EMPTIES), id="in a list"),
        pytest.param(decode_logs, nested([1, 2, 2, 6, 2, 6], field(1, b"") * EMPTIES), id="in a map"),
        pytest.param(decode_logs, nested([1, 2, 2, 6], field(2, b"") * EMPTIES), id="values of one attribute"),
        pytest.param(decode_traces, nested([1, 2, 2], field(9, b"") * EMPTIES), id="of a span"),
        pytest.param(decode_traces, nested([1, 2, 2], field(11, b"") * EMPTIES), id="events"),
        pytest.param(decode_traces, nested([1, 2, 2], field(13, b"") * EMPTIES), id="links"),
        pytest.param(decode_traces, nested([1, 2, 2, 11], field(3, b"") * EMPTIES), id="of an event"),
        pytest.param(decode_metrics, nested([1, 2, 2, 5, 1], field(7, b"") * EMPTIES), id="of a point"),
        pytest.param(decode_metrics, nested([1, 2, 2, 5, 1], field(5, b"") * EMPTIES), id="exemplars"),
        pytest.param(decode_metrics, nested([1, 2, 2, 10, 1, 8, 2], bytes(2 * EMPTIES)), id="packed buckets"),
        pytest.param(decode_metrics, nested([1, 2, 2, 10, 1, 8], b"\x10\x00" * EMPTIES), id="buckets one by one"),
    ],
)
def test_what_has_too_many_elements_is_refused(decode: Decode, body: bytes) -> None:
    with pytest.raises(MalformedRequest, match=f"has more than {MAX_ELEMENTS} attributes, values and other elements"):
        decode(body)


def test_as_many_elements_as_are_allowed_are_taken_whatever_else_is_in_the_body() -> None:
    """Text that is full of what elements begin with is looked at once more, and is text."""
    kind = logs_service_pb2.ExportLogsServiceRequest.DESCRIPTOR
    around = 3  # the resource, its scope, the record
    attributes = field(6, b"") * (MAX_ELEMENTS - around)
    text = field(3, b"\n2*\x12" * MAX_ELEMENTS)
    check_elements(kind, nested([1, 2, 2], attributes + text))
    with pytest.raises(TooMuch):
        check_elements(kind, nested([1, 2, 2], attributes + text + field(6, b"")))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(nested([5] * 101, b""), "is nested more than 100 deep", id="depth"),
        pytest.param(b"\x0b\x0c", "has a group", id="a group"),
        pytest.param(b"\x0a\xff\xff\xff\x7f", "ends within a field", id="a length beyond the end"),
    ],
)
def test_what_is_broken_ends_the_count(body: bytes, why: str) -> None:
    """Behind so much that the count is needed."""
    kind = metrics_service_pb2.ExportMetricsServiceRequest.DESCRIPTOR
    if why.startswith("is nested"):
        inner = b""
        for _ in range(60):
            inner = field(5, field(1, inner))  # a list in a list
        body = nested([1, 1, 1, 2], inner)
    with pytest.raises(TooMuch, match=why):
        check_elements(kind, field(900, bytes(2 * MAX_ELEMENTS)) + body)


def summary(quantiles: int, points: int = 1) -> bytes:
    time = b"\x19" + int(NOW * 1e9).to_bytes(8, "little")
    return nested([1, 2, 2], field(1, b"a") + field(11, field(1, time + field(6, b"") * quantiles) * points))


def test_a_point_of_too_many_quantiles_is_refused() -> None:
    """Two octets each, and a sample with its labels."""
    decoded = decode_metrics(summary(MAX_QUANTILES))
    assert len(decoded.batch.samples) == MAX_QUANTILES + 2
    decoded = decode_metrics(summary(1_000_000))
    assert (len(decoded.batch), decoded.rejected) == (0, 1)
    assert decoded.why == f"a: 1000000 quantiles, at most {MAX_QUANTILES} are taken"


def test_points_that_come_to_too_many_samples_are_refused() -> None:
    with pytest.raises(MalformedRequest, match=f"it comes to more than {MAX_PARTS} samples; send smaller batches"):
        decode_metrics(summary(MAX_QUANTILES, points=MAX_PARTS // MAX_QUANTILES))


def test_json_with_too_many_numbers_is_refused_before_it_is_read() -> None:
    points = b'{"bucketCounts":[' + b",".join([b"0"] * (MAX_JSON_COMMAS + 2)) + b"]}"
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[' + points + b"]}}]}]}]}"
    with pytest.raises(MalformedRequest, match=f"has more than {MAX_JSON_COMMAS} commas"):
        decode_metrics(body, as_json=True)


def test_what_repeats_a_large_resource_in_many_records_is_refused() -> None:
    request = logs_service_pb2.ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="large").value.string_value = "x" * 1024 * 1024
    records = resource.scope_logs.add().log_records
    for _ in range(60):
        records.add()
    assert len(decode_logs(request.SerializeToString()).batch.logs) == 60
    for _ in range(10):
        records.add()
    with pytest.raises(MalformedRequest, match=REPEATED):
        decode_logs(request.SerializeToString())

    traces = trace_service_pb2.ExportTraceServiceRequest()
    spans = traces.resource_spans.add()
    spans.resource.CopyFrom(resource.resource)
    scope = spans.scope_spans.add()
    for _ in range(70):
        scope.spans.add()
    with pytest.raises(MalformedRequest, match=REPEATED):
        decode_traces(traces.SerializeToString())


@pytest.mark.parametrize("unit", [b"{}", b"[]"], ids=["objects", "lists"])
def test_json_with_too_many_containers_is_refused_before_it_is_read(unit: bytes) -> None:
    body = b'{"resourceLogs":[' + b",".join([unit] * (MAX_JSON_CONTAINERS + 1)) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest, match=f"has more than {MAX_JSON_CONTAINERS} objects and lists"):
            decode_logs(body, as_json=True)
        assert tracemalloc.get_traced_memory()[1] < FLAT_BYTES
    finally:
        tracemalloc.stop()


def test_json_has_the_same_bound_of_parts() -> None:
    body = b'{"resourceLogs":[' + b",".join([b"{}"] * (MAX_PARTS + 1)) + b"]}"
    with pytest.raises(MalformedRequest, match=f"has more than {MAX_PARTS} parts"):
        decode_logs(body, as_json=True)


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05\x00", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b\x0c", b"\x09\x00", b"\x80"],
    ids=["no length", "too long", "an endless length", "a group", "half a number", "half a key"],
)
def test_what_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode_logs(body)


def test_fields_of_every_kind_are_passed_over() -> None:
    number, fixed64, fixed32 = b"\xf8\x07\x80\x01", b"\xf9\x07" + bytes(8), b"\xfd\x07" + bytes(4)
    body = number + fixed64 + nested([1, 2], fixed32 + field(2, b"")) + fixed32
    assert len(decode_logs(body).batch.logs) == 1


def test_attributes_that_are_all_the_same_end_at_the_bound_of_attributes() -> None:
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    attributes = request.resource_metrics.add().resource.attributes
    for _ in range(otlp.MAX_ATTRIBUTES + 1):
        attributes.add(key="same")
    assert otlp.attributes_of(attributes)["otel.attributes_cut"] is True


def test_records_weigh_what_they_take_and_not_only_their_bytes() -> None:
    count = 1_000
    logs = decode_logs(nested([1, 2], field(2, b"") * count)).batch
    assert len(logs) == count
    assert logs.size_bytes >= count * RECORD_BYTES

    for entries in (b"\xdd" + count.to_bytes(4, "big"), b"\xc6" + (3 * count).to_bytes(4, "big")):
        (delivery,) = ForwardParser().feed(b"\x92\xa1t" + entries + b"\x92\x00\x80" * count)
        assert len(delivery.events) == count
        assert delivery.size_bytes >= count * EVENT_BYTES
