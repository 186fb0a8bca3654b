"""OTLP's metrics as samples under Prometheus' names. No I/O; gRPC and HTTP are in otlp_grpc and otlp_http.

    sum, cumulative and monotonic      counter                 sum, delta and monotonic       counter, summed up here
    sum, cumulative, not monotonic     gauge                   sum, delta, not monotonic      refused
    gauge                              gauge                   summary                        quantiles, _sum, _count
    histogram                          histogram (delta: summed up here)
    exponential histogram              histogram whose bounds are powers of two

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from collectors.receivers.claims import Judge
from collectors.receivers.otlp import Decoded, MalformedRequest, attributes_of, parse, workload_of
from collectors.receivers.otlp_bounds import MAX_PARTS, RECORD_BYTES
from collectors.receivers.otlp_deltas import Deltas
from collectors.receivers.otlp_names import identity_of, labels_of, metric_name
from collectors.records import Batch, Exemplar, Histogram, Labels, Sample

FUTURE_S = 600.0
"""A clock that is ahead by more would keep everything else of its series out of Prometheus."""
MAX_LABELS = 128
MAX_VALUE_CHARACTERS = 4_096
OWN = ("istio_", "remora_", "envoy_", "pilot_", "citadel_")
"""What an application says under these names would be taken for what the mesh has measured."""
MAX_QUANTILES = 128
"""Of one point; each is a sample."""
_MAX_EXEMPLARS = 32
_DELTA, _CUMULATIVE = 1, 2
_NO_RECORDED_VALUE = 1

POWERS = tuple(2.0**power for power in range(-20, 41))
"""Bounds of what was an exponential histogram: a millionth to a million millions. Fixed, since a bound that comes and
goes would be a series that does."""


class _Refused(Exception):
    """One point cannot be taken."""


def decode_metrics(
    body: bytes,
    judge: Judge | None,
    now: float,
    deltas: Deltas,
    *,
    as_json: bool = False,
    mesh_metrics: bool = False,
) -> Decoded:
    """An ExportMetricsServiceRequest at `now`, seconds since the epoch. With `mesh_metrics` the sender may say what a
    mesh has measured. Raises MalformedRequest."""
    request = parse(metrics_service_pb2.ExportMetricsServiceRequest, body, as_json)
    decoding = _Decoding(now, deltas, Batch(size_bytes=4 * len(body)), () if mesh_metrics else OWN)
    foreign = 0
    for resource_metrics in request.resource_metrics:
        resource = attributes_of(resource_metrics.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")
        problem = "" if judge is None else judge.resource(resource, workload_of(resource, service))
        metrics = [metric for scope in resource_metrics.scope_metrics for metric in scope.metrics]
        if problem:
            count = sum(len(_points(metric)) for metric in metrics)
            foreign += count
            decoding.refuse(count, problem)
            continue
        identity = identity_of({"service.name": "unknown_service", **resource})
        if judge is not None:
            identity["peer_principal"] = judge.principal
        for scope_metrics in resource_metrics.scope_metrics:
            scope = {"otel_scope_name": scope_metrics.scope.name, "otel_scope_version": scope_metrics.scope.version}
            for metric in scope_metrics.metrics:
                decoding.metric(metric, {**scope, **identity})
        decoding.target_info(resource, identity)
    decoding.batch.size_bytes += RECORD_BYTES * len(decoding.batch)
    return Decoded(decoding.batch, decoding.rejected, decoding.why, foreign)


def metrics_response(decoded: Decoded) -> Any:
    """The answer to `decode_metrics`' request."""
    response = metrics_service_pb2.ExportMetricsServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_data_points = decoded.rejected
        response.partial_success.error_message = decoded.why
    return response


def _points(metric: Any) -> Any:
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


@dataclass(slots=True)
class _Decoding:
    """One request."""

    now: float
    deltas: Deltas
    batch: Batch
    reserved: tuple[str, ...]
    """Beginnings of names that the sender may not use."""
    rejected: int = 0
    why: str = ""
    newest: float = field(default=0.0)

    def refuse(self, count: int, why: str) -> None:
        self.rejected += count
        self.why = why

    def metric(self, metric: Any, labels: dict[str, str]) -> None:
        """All of its points that can be taken."""
        data = metric.WhichOneof("data")
        for point in _points(metric):
            try:
                self.batch.samples += self._point(metric, data, point, labels)
            except (_Refused, ValueError, OverflowError) as error:
                self.refuse(1, f"{metric.name[:200]}: {error}")
            if len(self.batch.samples) > MAX_PARTS:
                raise MalformedRequest(f"it comes to more than {MAX_PARTS} samples; send smaller batches")

    def target_info(self, resource: dict[str, Any], identity: dict[str, str]) -> None:
        """What else is known of where they come from, for a join by job and instance."""
        known = ("service.name", "service.namespace", "service.instance.id")
        about = {key: value for key, value in resource.items() if key not in known}
        if about and self.batch.samples and len(about) <= MAX_LABELS:
            labels = labels_of(about, identity)
            self.batch.samples.append(Sample("target_info", labels, self.newest, 1.0, None, "gauge"))

    def _point(self, metric: Any, data: str, point: Any, more: dict[str, str]) -> list[Sample]:
        labels = _labels(point, more)
        at = self._time(point)
        if data == "gauge":
            return [self._own(_number(metric, point, labels, at, counter=False))]
        if data == "summary":
            return [self._own(sample) for sample in _summary(metric, point, labels, at)]
        temporality = getattr(metric, data).aggregation_temporality
        if temporality not in (_DELTA, _CUMULATIVE):
            raise _Refused("it is neither delta nor cumulative")
        if data == "sum":
            monotonic = metric.sum.is_monotonic
            if temporality == _DELTA and not monotonic:
                raise _Refused("a delta of what may fall has no meaning in Prometheus; send it cumulative")
            sample = _number(metric, point, labels, at, counter=monotonic)
        elif data == "histogram":
            sample = _histogram(metric, point, labels, at)
        else:
            sample = _exponential(metric, point, labels, at)
        self._own(sample)
        if temporality == _DELTA and sample.value is not None:
            return self.deltas.add(sample, point.start_time_unix_nano / 1e9)
        return [sample]

    def _own(self, sample: Sample) -> Sample:
        """The sample, whose name the sender may use."""
        if sample.name.startswith(self.reserved):
            raise _Refused(f"names that begin with {', '.join(self.reserved)} are the sidecars' own")
        return sample

    def _time(self, point: Any) -> float:
        at: float = point.time_unix_nano / 1e9
        if not at:
            raise _Refused("a point needs a time")
        if at > self.now + FUTURE_S:
            raise _Refused(f"its time is {at - self.now:.0f} s ahead: is the sender's clock right?")
        self.newest = max(self.newest, at)
        return at


def _labels(point: Any, more: dict[str, str]) -> Labels:
    labels = labels_of(attributes_of(point.attributes), more)
    if len(labels) > MAX_LABELS:
        raise _Refused(f"{len(labels)} attributes, at most {MAX_LABELS} are taken")
    for name, value in labels:
        if len(value) > MAX_VALUE_CHARACTERS or len(name) > MAX_VALUE_CHARACTERS:
            raise _Refused(f"attribute {name[:100]!r} has more than {MAX_VALUE_CHARACTERS} characters")
    return labels


def _name(metric: Any, *, counter: bool = False, gauge: bool = False) -> str:
    name = metric_name(metric.name, metric.unit, counter=counter, gauge=gauge)
    if not name or len(name) > MAX_VALUE_CHARACTERS:
        raise _Refused("its name has no character that Prometheus takes, or too many")
    return name


def _number(metric: Any, point: Any, labels: Labels, at: float, *, counter: bool) -> Sample:
    value: float | None = None
    if not point.flags & _NO_RECORDED_VALUE:
        kind = point.WhichOneof("value")
        if kind is None:
            raise _Refused("a point without a value")
        value = float(getattr(point, kind))
        if counter and not (math.isfinite(value) and value >= 0):
            raise _Refused(f"a counter cannot be {value}")
    name = _name(metric, counter=counter, gauge=metric.WhichOneof("data") == "gauge")
    return Sample(name, labels, at, value, None, "counter" if counter else "gauge", _exemplars(point))


def _histogram(metric: Any, point: Any, labels: Labels, at: float) -> Sample:
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if not counts and not bounds:
        counts = (point.count,)
    if len(counts) != len(bounds) + 1:
        raise _Refused(f"{len(counts)} buckets for {len(bounds)} bounds")
    if any(lower >= upper for lower, upper in pairwise(bounds)) or not all(map(math.isfinite, bounds)):
        raise _Refused("its bounds do not ascend")
    if sum(counts) != point.count:
        raise _Refused(f"its buckets hold {sum(counts)} of {point.count}")
    histogram = Histogram((*bounds, math.inf), tuple(accumulate(counts)), point.sum)
    return _reading(metric, point, labels, at, histogram)


def _exponential(metric: Any, point: Any, labels: Labels, at: float) -> Sample:
    """Buckets of base 2^(2^-scale), merged into powers of two: exactly, as each of theirs lies within one of ours, but
    for scales below zero, whose buckets count at their upper bound."""
    counts = [0] * (len(POWERS) + 1)
    counts[0] += point.zero_count + sum(point.negative.bucket_counts)
    for index, count in enumerate(point.positive.bucket_counts, point.positive.offset):
        if count:
            counts[_power_index(index, point.scale)] += count
    if sum(counts) != point.count:
        raise _Refused(f"its buckets hold {sum(counts)} of {point.count}")
    histogram = Histogram((*POWERS, math.inf), tuple(accumulate(counts)), point.sum)
    return _reading(metric, point, labels, at, histogram)


def _power_index(index: int, scale: int) -> int:
    """Which of our buckets (base^index, base^(index+1)] lies in."""
    if not -20 <= scale <= 40:
        raise _Refused(f"scale {scale} is out of range")
    # The exponent of two of its upper bound, rounded up.
    upper = -((-(index + 1)) >> scale) if scale >= 0 else (index + 1) << -scale
    return min(max(upper + 20, 0), len(POWERS))


def _reading(metric: Any, point: Any, labels: Labels, at: float, histogram: Histogram) -> Sample:
    value = None if point.flags & _NO_RECORDED_VALUE else float(histogram.counts[-1])
    return Sample(_name(metric), labels, at, value, histogram, "histogram", _exemplars(point))


def _summary(metric: Any, point: Any, labels: Labels, at: float) -> Iterator[Sample]:
    name = _name(metric)
    if len(point.quantile_values) > MAX_QUANTILES:
        raise _Refused(f"{len(point.quantile_values)} quantiles, at most {MAX_QUANTILES} are taken")
    stale = bool(point.flags & _NO_RECORDED_VALUE)
    for each in point.quantile_values:
        pairs = tuple(sorted([*labels, ("quantile", f"{each.quantile:g}")]))
        yield Sample(name, pairs, at, None if stale else each.value, None, "gauge")
    yield Sample(f"{name}_sum", labels, at, None if stale else point.sum, None, "counter")
    yield Sample(f"{name}_count", labels, at, None if stale else float(point.count), None, "counter")


def _exemplars(point: Any) -> tuple[Exemplar, ...]:
    found = []
    for each in point.exemplars[:_MAX_EXEMPLARS]:
        kind = each.WhichOneof("value")
        if kind is None or len(each.trace_id) != 16:
            continue
        labels = [("trace_id", each.trace_id.hex())]
        if len(each.span_id) == 8:
            labels.insert(0, ("span_id", each.span_id.hex()))
        found.append(Exemplar(tuple(labels), float(getattr(each, kind)), each.time_unix_nano / 1e9))
    return tuple(found)
