"""Samples as OTLP's metrics: to the letter of the specification, and as the receiver of the other end takes them."""

import math
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from collectors.exporters.otlp.metrics import encode_samples
from collectors.receivers.otlp_deltas import Deltas
from collectors.receivers.otlp_metrics import decode_metrics
from collectors.records import Exemplar, Histogram, Sample
from tests.collectors.build import NOW

BOUNDS = (0.1, 1.0, math.inf)
LABELS = (("instance", "10.0.0.1:80"), ("job", "shop/web"), ("otel_scope_name", "s"), ("path", "/"))
EXEMPLAR = Exemplar((("span_id", "0b" * 8), ("trace_id", "0a" * 16)), 0.5, NOW)
SAMPLES = [
    Sample("requests_total", LABELS, NOW, 7.0, None, "counter"),
    Sample("temperature_celsius", LABELS, NOW, math.inf, None, "gauge"),
    Sample("latency_seconds", LABELS, NOW, 4.0, Histogram(BOUNDS, (1, 3, 4), 2.5), "histogram", (EXEMPLAR,)),
    Sample("requests_total", LABELS, NOW + 1, None, None, "counter"),
    Sample("temperature_celsius", LABELS, NOW + 1, None, None, "gauge"),
]


def sent(*samples: Sample) -> Any:
    body, refused = encode_samples(samples)
    assert refused == []
    return ExportMetricsServiceRequest.FromString(body)


def texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


def received(body: bytes, *, mesh_metrics: bool = False) -> list[Sample]:
    decoded = decode_metrics(body, None, NOW, Deltas(), mesh_metrics=mesh_metrics)
    assert (decoded.rejected, decoded.why) == (0, "")
    return decoded.batch.samples


def test_what_is_sent_is_received_as_it_was() -> None:
    assert sorted(received(encode_samples(SAMPLES)[0])) == sorted(SAMPLES)


def test_points_of_a_resource_a_scope_and_a_metric_are_together() -> None:
    other = tuple(("path", "/x") if name == "path" else (name, value) for name, value in LABELS)
    request = sent(*SAMPLES, SAMPLES[0]._replace(labels=other), SAMPLES[0]._replace(labels=()))
    first, second = request.resource_metrics
    assert [(one.key, one.value.string_value) for one in first.resource.attributes] == [
        ("service.name", "shop/web"),
        ("service.instance.id", "10.0.0.1:80"),
    ]
    assert len(second.resource.attributes) == 0
    (scope,) = first.scope_metrics
    assert scope.scope.name == "s"
    assert [(one.name, one.WhichOneof("data")) for one in scope.metrics] == [
        ("requests_total", "sum"),
        ("temperature_celsius", "gauge"),
        ("latency_seconds", "histogram"),
    ]
    total = scope.metrics[0].sum
    assert (total.aggregation_temporality, total.is_monotonic, len(total.data_points)) == (2, True, 3)
    point, ended, _ = total.data_points
    assert (point.as_double, point.time_unix_nano, point.start_time_unix_nano) == (7.0, int(NOW) * 10**9, 0)
    assert [(one.key, one.value.string_value) for one in point.attributes] == [("path", "/")]
    assert (ended.flags, ended.WhichOneof("value")) == (1, None), "no recorded value"


def test_a_histogram_s_buckets_each_count_their_own() -> None:
    (point,) = sent(SAMPLES[2]).resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.1, 1.0], [1, 2, 1])
    assert (point.count, point.sum) == (4, 2.5)
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex(), exemplar.as_double) == ("0a" * 16, "0b" * 8, 0.5)
    assert len(exemplar.filtered_attributes) == 0


def test_an_exemplar_that_names_no_trace_keeps_its_labels() -> None:
    odd = Exemplar((("trace_id", "abc"), ("user", "a\udcffb")), 1.0, math.nan)
    (metric,) = sent(SAMPLES[0]._replace(exemplars=(odd,))).resource_metrics[0].scope_metrics[0].metrics
    (exemplar,) = metric.sum.data_points[0].exemplars
    assert texts(exemplar.filtered_attributes) == {"trace_id": "abc", "user": "a?b"}
    assert (exemplar.trace_id, exemplar.time_unix_nano) == (b"", 0)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (SAMPLES[0]._replace(value=math.nan), "requests_total: a counter cannot be nan"),
        (SAMPLES[0]._replace(value=-1.0), "requests_total: a counter cannot be -1.0"),
        (SAMPLES[2]._replace(histogram=None), "latency_seconds: a histogram without buckets"),
        (SAMPLES[2]._replace(histogram=Histogram(BOUNDS, (3, 1, 4), 0.0)),
         "latency_seconds: its buckets' counts do not ascend"),
        (SAMPLES[2]._replace(histogram=Histogram(BOUNDS, (1,), 0.0)), "latency_seconds: 1 counts for 3 buckets"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_alone(sample: Sample, why: str) -> None:
    body, refused = encode_samples([SAMPLES[1], sample])
    assert [(one.record, one.why) for one in refused] == [(sample, why)]
    assert received(body) == [SAMPLES[1]]


def test_samples_that_lost_their_kind_are_gauges() -> None:
    (metric,) = sent(Sample("x", (), NOW, 1.0)).resource_metrics[0].scope_metrics[0].metrics
    assert metric.WhichOneof("data") == "gauge"


def test_a_mesh_s_metrics_are_taken_from_whom_they_are_expected() -> None:
    body, _ = encode_samples([SAMPLES[0]._replace(name="istio_requests_total")])
    refused = decode_metrics(body, None, NOW, Deltas())
    assert (refused.rejected, refused.batch.samples) == (1, [])
    (taken,) = received(body, mesh_metrics=True)
    assert taken.name == "istio_requests_total"


def test_what_the_sdk_measures_goes_through_us_unchanged() -> None:
    """SDK -> our receiver -> our exporter: the same points, by the types of the SDK's own exporter."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({"service.name": "shop", "service.instance.id": "i-1"}))
    meter = provider.get_meter("checkout", "1.2")
    meter.create_counter("orders").add(3, {"region": "eu"})
    meter.create_gauge("stock").set(12.5)
    meter.create_histogram("latency", explicit_bucket_boundaries_advisory=[0.1, 1.0]).record(0.5)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    original = encode_metrics(data)
    time = original.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0].time_unix_nano / 1e9
    samples = decode_metrics(original.SerializeToString(), None, time, Deltas()).batch.samples
    through = sent(*[one for one in samples if one.name != "target_info"])
    ours, theirs = (each.resource_metrics[0] for each in (through, original))
    said = texts(theirs.resource.attributes).items()
    assert texts(ours.resource.attributes) == {key: value for key, value in said if not key.startswith("telemetry.")}
    assert ours.scope_metrics[0].scope == theirs.scope_metrics[0].scope
    names = {"orders": "orders_total", "stock": "stock", "latency": "latency"}
    assert [one.name for one in ours.scope_metrics[0].metrics] == list(names.values())
    for mine, his in zip(ours.scope_metrics[0].metrics, theirs.scope_metrics[0].metrics, strict=True):
        (point,) = getattr(mine, mine.WhichOneof("data")).data_points
        (there,) = getattr(his, mine.WhichOneof("data")).data_points
        assert mine.WhichOneof("data") == his.WhichOneof("data")
        assert list(point.attributes) == list(there.attributes)
        if mine.WhichOneof("data") == "histogram":
            assert (point.count, point.sum, list(point.bucket_counts), list(point.explicit_bounds)) == (
                there.count, there.sum, list(there.bucket_counts), list(there.explicit_bounds)
            )  # fmt: skip
        else:
            assert point.as_double == (there.as_double or there.as_int)
        assert abs(point.time_unix_nano - there.time_unix_nano) <= 1_000
