"""Samples as an ExportMetricsServiceRequest (opentelemetry-proto v1). The receivers' counterpart.

    counter      sum, cumulative and monotonic        job, instance                          resource: service.name,
    histogram    histogram, cumulative                                                       service.instance.id
    other        gauge                                otel_scope_name, otel_scope_version    scope
    an end       a point flagged "no recorded value"  other labels                           attributes of the point

Names stay Prometheus', as the specification has it. When a counter began nobody knows: start times are not set, as the
OpenTelemetry Collector does not set them for what it scrapes (its metricstarttime processor does).

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#prometheus-metric-points-to-otlp
"""

import math
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collectors.exporters.sink import Refusal
from collectors.records import Exemplar, Histogram, Labels, Sample

_CUMULATIVE = 2
_NO_RECORDED_VALUE = 1
_HEX = frozenset(string.hexdigits)
_RESOURCE = {"job": "service.name", "instance": "service.instance.id"}
_SCOPE = ("otel_scope_name", "otel_scope_version")


class _Wrong(Exception):
    """OTLP has no such point. One of them would take its whole request with it."""


class _Origin(NamedTuple):
    """A series' labels, taken apart."""

    resource: Labels
    scope: tuple[str, str]
    attributes: Labels


def encode_samples(samples: Sequence[Sample]) -> tuple[bytes, list[Refusal]]:
    """The request, and the samples that cannot be said in it."""
    encoding = _Encoding()
    refused = []
    for sample in samples:
        try:
            encoding.add(sample)
        except _Wrong as error:
            refused.append(Refusal(sample, str(error)))
    return bytes(encoding.request.SerializeToString()), refused


class _Encoding:
    """One request: points of the same resource, scope and metric together, each once."""

    def __init__(self) -> None:
        self.request = ExportMetricsServiceRequest()
        self._resources: dict[Labels, Any] = {}
        self._scopes: dict[tuple[Labels, tuple[str, str]], Any] = {}
        self._metrics: dict[tuple[Labels, tuple[str, str], str, str], Any] = {}
        self._origins: dict[Labels, _Origin] = {}

    def add(self, sample: Sample) -> None:
        """Raises _Wrong."""
        kind = sample.kind if sample.kind in ("counter", "histogram") else "gauge"
        _judge(sample, kind)
        origin = self._origins.get(sample.labels)
        if origin is None:
            origin = self._origins[sample.labels] = _origin(sample.labels)
        point = self._metric(origin, sample.name, kind).data_points.add(time_unix_nano=_nanos(sample.time))
        for key, value in origin.attributes:
            point.attributes.add(key=key).value.string_value = _text(value)
        for exemplar in sample.exemplars:
            _exemplar(point.exemplars.add(), exemplar)
        if sample.value is None:
            point.flags = _NO_RECORDED_VALUE
        elif sample.histogram is None:
            point.as_double = sample.value
        else:
            _histogram(point, sample.histogram)

    def _metric(self, origin: _Origin, name: str, kind: str) -> Any:
        key = (origin.resource, origin.scope, name, kind)
        found = self._metrics.get(key)
        if found is None:
            metric = self._scope(origin).metrics.add(name=_text(name))
            if kind == "gauge":
                metric.gauge.SetInParent()
                found = metric.gauge
            elif kind == "counter":
                metric.sum.aggregation_temporality, metric.sum.is_monotonic = _CUMULATIVE, True
                found = metric.sum
            else:
                metric.histogram.aggregation_temporality = _CUMULATIVE
                found = metric.histogram
            self._metrics[key] = found
        return found

    def _scope(self, origin: _Origin) -> Any:
        key = (origin.resource, origin.scope)
        found = self._scopes.get(key)
        if found is None:
            resource = self._resources.get(origin.resource)
            if resource is None:
                resource = self._resources[origin.resource] = self.request.resource_metrics.add()
                for name, value in origin.resource:
                    resource.resource.attributes.add(key=name).value.string_value = _text(value)
            found = self._scopes[key] = resource.scope_metrics.add()
            found.scope.name, found.scope.version = map(_text, origin.scope)
        return found


def _judge(sample: Sample, kind: str) -> None:
    value, histogram = sample.value, sample.histogram
    if value is None:
        return
    if kind == "counter" and not (math.isfinite(value) and value >= 0):
        raise _Wrong(f"{sample.name[:200]}: a counter cannot be {value}")
    if kind == "histogram":
        if histogram is None:
            raise _Wrong(f"{sample.name[:200]}: a histogram without buckets")
        if any(later < earlier for earlier, later in zip((0, *histogram.counts), histogram.counts, strict=False)):
            raise _Wrong(f"{sample.name[:200]}: its buckets' counts do not ascend")
        if not histogram.counts or len(histogram.counts) != len(histogram.bounds):
            raise _Wrong(f"{sample.name[:200]}: {len(histogram.counts)} counts for {len(histogram.bounds)} buckets")


def _origin(labels: Labels) -> _Origin:
    said = dict(labels)
    resource = tuple((name, said.pop(label)) for label, name in _RESOURCE.items() if label in said)
    name, version = (said.pop(label, "") for label in _SCOPE)
    return _Origin(resource, (name, version), tuple(sorted(said.items())))


def _histogram(point: Any, histogram: Histogram) -> None:
    """OTLP's buckets each count their own; the last one's infinite bound is left out."""
    counts = histogram.counts
    point.count = counts[-1]
    point.explicit_bounds.extend(histogram.bounds[:-1])
    point.bucket_counts.extend(after - before for before, after in zip((0, *counts), counts, strict=False))
    if not math.isnan(histogram.sum):
        point.sum = histogram.sum


def _exemplar(into: Any, exemplar: Exemplar) -> None:
    into.as_double = exemplar.value
    into.time_unix_nano = _nanos(exemplar.time)
    for name, value in exemplar.labels:
        if name == "trace_id" and len(value) == 32 and _HEX.issuperset(value):
            into.trace_id = bytes.fromhex(value)
        elif name == "span_id" and len(value) == 16 and _HEX.issuperset(value):
            into.span_id = bytes.fromhex(value)
        else:
            into.filtered_attributes.add(key=_text(name)).value.string_value = _text(value)


def _nanos(time: float) -> int:
    # No better than microseconds: seconds are a float.
    return max(0, min(round(time * 1e6) * 1_000, 2**64 - 1)) if math.isfinite(time) else 0


def _text(value: str) -> str:
    """Without lone surrogates, which protobuf refuses."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
