"""OTLP's metrics: from the real SDK over the wire, and point by point."""

import asyncio
import json
import math
import re
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from collectors.receivers.otlp import Decoded, MalformedRequest
from collectors.receivers.otlp_deltas import Deltas
from collectors.receivers.otlp_metrics import FUTURE_S, MAX_LABELS, decode_metrics
from collectors.receivers.otlp_names import label_name, labels_of, metric_name
from collectors.records import Sample
from tests.collectors.authority import PRODUCTPAGE
from tests.collectors.build import NOW
from tests.collectors.receivers.test_otlp import JSON, METRICS, NAME, PROTOBUF, Rig, rig

__all__ = ["rig"]

NS = int(NOW * 1e9)


def by_name(samples: list[Sample]) -> dict[str, Sample]:
    return {sample.name: sample for sample in samples}


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
async def test_what_the_sdk_measures_arrives_under_prometheus_names(
    rig: Rig,
    temporality: AggregationTemporality,
) -> None:
    rig.clock.time = 4e9  # the SDK has the machine's clock
    held = rig.mint.credentials()
    sender = OTLPMetricExporter(
        endpoint=rig.grpc_address,
        credentials=grpc.ssl_channel_credentials(held.roots_pem, held.key_pem, held.chain_pem),
        channel_options=(("grpc.ssl_target_name_override", NAME),),
        preferred_temporality={
            Counter: temporality, Histogram: temporality, ObservableCounter: temporality,
            UpDownCounter: AggregationTemporality.CUMULATIVE,
        },
    )  # fmt: skip
    reader = PeriodicExportingMetricReader(sender, export_interval_millis=math.inf)
    resource = Resource(
        {"service.name": "cart", "service.namespace": "shop", "service.instance.id": "c-1", "zone": "a"}
    )
    views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource, views=views)
    meter = provider.get_meter("cart.metrics", "1.2")
    added, size = meter.create_counter("items.added", "{item}"), meter.create_histogram("size", "By")
    took, open_ = meter.create_histogram("request.duration", "s"), meter.create_up_down_counter("carts.open")
    for _ in range(2):
        added.add(3, {"http.route": "/add"})
        took.record(0.2)
        size.record(1000)
        size.record(0)
        open_.add(1)
        assert await asyncio.to_thread(provider.force_flush)
    await asyncio.to_thread(provider.shutdown)

    samples = by_name(rig.sink.batches[1].samples)
    labels = {
        "job": "shop/cart", "instance": "c-1", "otel_scope_name": "cart.metrics", "otel_scope_version": "1.2",
        "peer_principal": str(PRODUCTPAGE),
    }  # fmt: skip
    assert dict(samples["items_added_total"].labels) == labels | {"http_route": "/add"}
    assert (samples["items_added_total"].value, samples["items_added_total"].kind) == (6, "counter")
    assert (samples["carts_open"].value, samples["carts_open"].kind) == (2, "gauge")
    duration = samples["request_duration_seconds"].histogram
    assert duration is not None
    assert (duration.counts[-1], duration.sum) == (2, 0.4)
    sizes = samples["size_bytes"].histogram
    assert sizes is not None
    assert dict(zip(sizes.bounds, sizes.counts, strict=True))[512.0] == 2, "the zeros"
    assert dict(zip(sizes.bounds, sizes.counts, strict=True))[1024.0] == 4
    assert dict(samples["target_info"].labels)["zone"] == "a"


async def test_metrics_by_http_and_json(rig: Rig) -> None:
    document = {
        "resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeMetrics": [{"metrics": [{
                "name": "queue.length",
                "unit": "1",
                "gauge": {"dataPoints": [{"timeUnixNano": str(NS), "asInt": "7"}]},
            }]}],
        }]
    }  # fmt: skip
    async with rig.client() as client:
        answer = await client.post("/v1/metrics", content=json.dumps(document).encode(), headers=JSON)
        assert (answer.status_code, answer.json()) == (200, {})
        empty = await client.post("/v1/metrics", content=b"", headers=PROTOBUF)
        assert empty.status_code == 200
    sample = by_name(rig.sink.batches[0].samples)["queue_length_ratio"]
    assert (sample.value, sample.time, dict(sample.labels)["job"]) == (7, NOW, "cart")


async def test_points_that_cannot_be_taken_are_counted_in_partial_success(rig: Rig) -> None:
    request = request_of(metric("a", gauge=[point(1)]), metric("b", delta=[point(1)], monotonic=False))
    answer = metrics_service_pb2.ExportMetricsServiceResponse.FromString(
        await rig.call(METRICS, request.SerializeToString())
    )
    assert answer.partial_success.rejected_data_points == 1
    assert answer.partial_success.error_message.startswith("b: a delta of what may fall")
    assert (
        rig.telemetry.registry.get_sample_value(
            "remora_collector_refused_records_total", {"receiver": "otlp_grpc", "signal": "metrics"}
        )
        == 1
    )


def point(value: float, at: int = NS, **fields: Any) -> metrics_pb2.NumberDataPoint:
    return metrics_pb2.NumberDataPoint(time_unix_nano=at, as_double=value, **fields)


def metric(
    name: str, unit: str = "", *, gauge: Any = None, delta: Any = None, cumulative: Any = None, monotonic: bool = True,
    **data: Any,
) -> metrics_pb2.Metric:  # fmt: skip
    made = metrics_pb2.Metric(name=name, unit=unit, **data)
    if gauge is not None:
        made.gauge.data_points.extend(gauge)
    if delta is not None or cumulative is not None:
        made.sum.data_points.extend(delta or cumulative)
        made.sum.is_monotonic = monotonic
        made.sum.aggregation_temporality = 1 if delta is not None else 2  # type: ignore[assignment]
    return made


def request_of(*metrics: metrics_pb2.Metric) -> metrics_service_pb2.ExportMetricsServiceRequest:
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(metrics)
    return request


def decoded(*metrics: metrics_pb2.Metric, deltas: Deltas | None = None) -> Decoded:
    return decode_metrics(request_of(*metrics).SerializeToString(), None, NOW, deltas or Deltas())


def test_deltas_add_up_and_a_piece_that_comes_again_counts_once() -> None:
    deltas = Deltas()

    def told(value: float, at_s: int) -> list[float | None]:
        found = decoded(
            metric("hits", delta=[point(value, NS + at_s * 10**9, start_time_unix_nano=NS - 10**9)]), deltas=deltas
        )
        return [sample.value for sample in found.batch.samples]

    assert told(5, 0) == [0, 5], "it began at zero"
    assert told(2, 1) == [7]
    assert told(2, 1) == [], "sent again"
    assert deltas.repeated == 1
    assert told(1, 2) == [8]


def histogram(counts: list[int], bounds: list[float], temporality: int = 2, **fields: Any) -> metrics_pb2.Metric:
    made = metrics_pb2.Metric(name="took", unit="ms")
    made.histogram.aggregation_temporality = temporality  # type: ignore[assignment]
    fields = {"count": sum(counts), "sum": 9.0, "time_unix_nano": NS, **fields}
    made.histogram.data_points.add(bucket_counts=counts, explicit_bounds=bounds, **fields)
    return made


def test_a_histogram_is_cumulative_and_has_its_exemplars() -> None:
    exemplar = metrics_pb2.Exemplar(time_unix_nano=NS, as_double=3.0, trace_id=b"\1" * 16, span_id=b"\2" * 8)
    (sample,) = decoded(histogram([1, 2, 3], [1, 5], exemplars=[exemplar])).batch.samples
    assert sample.name == "took_milliseconds"
    assert sample.histogram == ((1.0, 5.0, math.inf), (1, 3, 6), 9.0)
    assert sample.exemplars == (((("span_id", "02" * 8), ("trace_id", "01" * 16)), 3.0, NOW),)


def test_a_histogram_of_deltas_adds_up_and_begins_anew_with_other_buckets() -> None:
    deltas = Deltas()
    for at, expected in ((0, (1, 3)), (1, (2, 6))):
        found = decoded(histogram([1, 2], [5], 1, time_unix_nano=NS + at * 10**6), deltas=deltas)
        assert found.batch.samples[0].histogram is not None
        assert found.batch.samples[0].histogram.counts == expected
    other = decoded(histogram([1, 2], [6], 1, time_unix_nano=NS + 2 * 10**6), deltas=deltas)
    assert (other.rejected, "buckets" in other.why) == (1, True)
    anew = decoded(histogram([1, 2], [6], 1, time_unix_nano=NS + 3 * 10**6), deltas=deltas)
    assert anew.batch.samples[0].value == 3


def exponential(scale: int, offset: int, counts: list[int], zero: int = 0, negative: int = 0) -> metrics_pb2.Metric:
    made = metrics_pb2.Metric(name="e")
    made.exponential_histogram.aggregation_temporality = 2  # type: ignore[assignment]
    made.exponential_histogram.data_points.add(
        time_unix_nano=NS, count=sum(counts) + zero + negative, sum=1.0, scale=scale, zero_count=zero,
        positive={"offset": offset, "bucket_counts": counts}, negative={"offset": 0, "bucket_counts": [negative]},
    )  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("scale", "offset", "counts", "expected"),
    [
        (0, 0, [1, 1], {1.0: 0, 2.0: 1, 4.0: 2}),
        (1, 0, [1, 1, 1], {1.0: 0, 2.0: 2, 4.0: 3}),
        (0, -1, [1], {0.5: 0, 1.0: 1}),
        (3, -8, [1] * 16, {0.5: 0, 1.0: 8, 2.0: 16}),
        (-1, 0, [1, 1], {2.0: 0, 4.0: 1, 8.0: 1, 16.0: 2}),
        (0, 5000, [1], {2.0**40: 0, math.inf: 1}),
        (0, -5000, [1], {2.0**-20: 1}),
    ],
)
def test_exponential_buckets_are_merged_into_powers_of_two(
    scale: int, offset: int, counts: list[int], expected: dict[float, int]
) -> None:
    (sample,) = decoded(exponential(scale, offset, counts)).batch.samples
    assert sample.histogram is not None
    found = dict(zip(sample.histogram.bounds, sample.histogram.counts, strict=True))
    assert {bound: found[bound] for bound in expected} == expected


@given(st.integers(0, 12), st.lists(st.floats(1e-5, 1e9), min_size=1, max_size=30))
def test_a_value_is_counted_in_the_power_of_two_that_it_is_below(scale: int, values: list[float]) -> None:
    buckets: dict[int, int] = {}
    for value in values:
        index = math.ceil(math.log2(value) * 2**scale) - 1
        buckets[index] = buckets.get(index, 0) + 1
    if max(buckets) - min(buckets) > 200_000:
        return
    counts = [buckets.get(index, 0) for index in range(min(buckets), max(buckets) + 1)]
    (sample,) = decoded(exponential(scale, min(buckets), counts)).batch.samples
    assert sample.histogram is not None
    for bound, count in zip(sample.histogram.bounds, sample.histogram.counts, strict=True):
        exact = sum(math.ceil(math.log2(value)) <= math.log2(bound) for value in values)
        assert count == exact


def test_zeros_and_negative_values_are_below_every_bound() -> None:
    (sample,) = decoded(exponential(0, 0, [1], zero=2, negative=3)).batch.samples
    assert sample.histogram is not None
    assert sample.histogram.counts[0] == 5


def test_a_summary_is_its_quantiles_its_sum_and_its_count() -> None:
    made = metrics_pb2.Metric(name="rpc", unit="s")
    made.summary.data_points.add(time_unix_nano=NS, count=4, sum=2.0, quantile_values=[{"quantile": 0.5, "value": 0.4}])
    samples = decoded(made).batch.samples
    assert [(each.name, each.value, each.kind) for each in samples] == [
        ("rpc_seconds", 0.4, "gauge"), ("rpc_seconds_sum", 2, "counter"), ("rpc_seconds_count", 4, "counter")
    ]  # fmt: skip
    assert dict(samples[0].labels)["quantile"] == "0.5"


def test_a_point_without_a_recorded_value_ends_its_series() -> None:
    (sample,) = decoded(metric("a", gauge=[point(0, flags=1)])).batch.samples
    assert sample.value is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (metric("a", gauge=[point(1, at=0)]), "needs a time"),
        (metric("a", gauge=[point(1, at=NS + int((FUTURE_S + 9) * 1e9))]), "clock right"),
        (metric("a", gauge=[metrics_pb2.NumberDataPoint(time_unix_nano=NS)]), "without a value"),
        (metric("a", cumulative=[point(-1)]), "a counter cannot be -1"),
        (metric("a", cumulative=[point(math.nan)]), "a counter cannot be nan"),
        (metric("\N{SNOWMAN}", gauge=[point(1)]), "no character"),
        (metric("istio.requests", cumulative=[point(1)]), "the sidecars' own"),
        (metric("remora_x", gauge=[point(1)]), "the sidecars' own"),
        (histogram([1, 2], []), "2 buckets for 0 bounds"),
        (histogram([1, 2, 3], [5, 1]), "do not ascend"),
        (histogram([1, 2], [math.inf]), "do not ascend"),
        (histogram([1, 2], [5], 0), "neither delta nor cumulative"),
        (histogram([1, 2], [5], count=9), "hold 3 of 9"),
        (exponential(99, 0, [1]), "out of range"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_with_the_reason_and_the_rest_is_taken(
    bad: metrics_pb2.Metric, why: str
) -> None:
    found = decoded(bad, metric("good", gauge=[point(1)]))
    assert (found.rejected, [sample.name for sample in found.batch.samples]) == (1, ["good"])
    assert why in found.why


def test_too_many_or_too_long_attributes_are_refused() -> None:
    many = point(1)
    for number in range(MAX_LABELS + 1):
        many.attributes.add(key=f"k{number}").value.int_value = number
    long = point(1)
    long.attributes.add(key="k").value.string_value = "x" * 10_000
    found = decoded(metric("a", gauge=[many, long, point(1)]))
    assert (found.rejected, len(found.batch.samples)) == (2, 1)


VALID = request_of(
    metric("http.requests", "1", cumulative=[point(5)]),
    metric("temperature", "Cel", gauge=[point(20.5)]),
    metric("hits", delta=[point(1, start_time_unix_nano=NS - 10**9)]),
    histogram([1, 2, 3], [0.1, 1.0]),
    exponential(2, -3, [1, 2, 3], zero=1, negative=1),
).SerializeToString()


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A valid request with some octets changed."""
    body = bytearray(VALID)
    for at in draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = draw(st.integers(0, 255))
    return bytes(body)


@given(st.binary(max_size=300) | spoilt())
def test_any_bytes_are_samples_that_can_be_stored_or_refused(body: bytes) -> None:
    try:
        found = decode_metrics(body, None, NOW, Deltas())
    except MalformedRequest:
        return
    for sample in found.batch.samples:
        assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", sample.name)
        assert sample.time <= NOW + FUTURE_S
        if sample.histogram is not None:
            assert len(sample.histogram.bounds) == len(sample.histogram.counts)
            assert list(sample.histogram.bounds) == sorted(set(sample.histogram.bounds))
            assert list(sample.histogram.counts) == sorted(sample.histogram.counts)


@pytest.mark.parametrize(
    ("name", "unit", "options", "expected"),
    [
        ("http.server.duration", "ms", {}, "http_server_duration_milliseconds"),
        ("http.requests", "{request}", {"counter": True}, "http_requests_total"),
        ("requests_total", "1", {"counter": True}, "requests_total"),
        ("total.bytes", "By", {"counter": True}, "bytes_total"),
        ("disk.io", "By/s", {}, "disk_io_bytes_per_second"),
        ("cpu.utilization", "1", {"gauge": True}, "cpu_utilization_ratio"),
        ("a__b--c", "", {}, "a_b_c"),
        ("2xx", "", {"counter": True}, "_2xx_total"),
        ("memory.usage", "MiBy", {"gauge": True}, "memory_usage_mebibytes"),
        ("req", "{request}/m", {}, "req_per_minute"),
        ("db.size", "widgets", {}, "db_size_widgets"),
    ],
)
def test_names_follow_the_specification(name: str, unit: str, options: dict[str, bool], expected: str) -> None:
    assert metric_name(name, unit, **({"counter": False, "gauge": False} | options)) == expected


def test_labels_are_sanitised_and_those_that_become_one_are_joined() -> None:
    assert [label_name(key) for key in ("http.route", "1st", "__name__", "a-b")] == [
        "http_route", "key_1st", "key__name__", "a_b"
    ]  # fmt: skip
    found = labels_of({"a.b": 1, "a_b": True, "l": ["x"], "empty": ""}, {"job": "j", "instance": ""})
    assert found == (("a_b", "1;true"), ("job", "j"), ("l", '["x"]'))
