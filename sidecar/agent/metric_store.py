"""What the workers counted, summed up. Counters outlive the worker that counted; gauges go with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from mesh.clock import Clock
from mesh.records import DURATION_BUCKETS_MS, HTTP_LABELS, SIZE_BUCKETS_BYTES
from sidecar.agent.exposition import Histogram, Labels, header, is_valid, label_text, sample
from sidecar.agent.metric_names import OF_THE_NEWEST, help_of
from sidecar.config.messages import Exemplar, Growth, HttpSeries, Metrics, Reading

MAX_HTTP_SERIES = 2_000
"""Combinations of labels; requests of further ones are counted under `overflow`."""

MAX_OTHER_SERIES = 20_000

IDLE_S = 3600.0
"""A series that has not grown for this long is let go, as Istio's telemetry does with its own."""

_KEPT_ON_OVERFLOW = frozenset({"reporter", "request_protocol", "response_code"})
_OVERFLOW = "overflow"

_DURATION = Histogram(DURATION_BUCKETS_MS)
_SIZE = Histogram(SIZE_BUCKETS_BYTES)


@dataclass(slots=True)
class _Http:
    """One combination of labels since the agent's start."""

    text: str
    grown_at: float
    requests: int = 0
    duration_ms_sum: float = 0.0
    duration: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_MS) + 1))
    request_bytes_sum: int = 0
    request: list[int] = field(default_factory=lambda: [0] * (len(SIZE_BUCKETS_BYTES) + 1))
    response_bytes_sum: int = 0
    response: list[int] = field(default_factory=lambda: [0] * (len(SIZE_BUCKETS_BYTES) + 1))
    exemplars: dict[int, Exemplar] = field(default_factory=dict)
    """The latest sampled request of each bucket of durations."""

    def add(self, growth: HttpSeries, now: float) -> None:
        self.grown_at = now
        self.requests += growth.requests
        self.duration_ms_sum += growth.duration_ms_sum
        self.request_bytes_sum += growth.request_bytes_sum
        self.response_bytes_sum += growth.response_bytes_sum
        _add(self.duration, growth.duration_buckets)
        _add(self.request, growth.request_buckets)
        _add(self.response, growth.response_buckets)
        for exemplar in growth.exemplars:
            self.exemplars[exemplar.bucket] = exemplar


@dataclass(slots=True)
class _Counter:
    grown_at: float
    value: int = 0


def _add(buckets: list[int], growth: Iterable[int]) -> None:
    for index, grown in enumerate(growth):
        if grown:
            buckets[index] += grown


def _merged(name: str, readings: dict[int, float]) -> float:
    """Several workers': while one is replaced, while it drains, and where there are more than one."""
    return readings[max(readings)] if name.startswith(OF_THE_NEWEST) else sum(readings.values())


class MetricStore:
    """Everything that workers measure."""

    def __init__(
        self, clock: Clock, *, max_http_series: int = MAX_HTTP_SERIES, max_other_series: int = MAX_OTHER_SERIES
    ) -> None:
        self._clock = clock
        self._max_http = max_http_series
        self._max_other = max_other_series
        self._http: dict[tuple[str, ...], _Http] = {}
        self._counters: dict[str, dict[Labels, _Counter]] = {}
        self._gauges: dict[str, dict[Labels, dict[int, float]]] = {}
        """By name, labels and worker: one with a higher number was started later."""
        self._told: dict[int, set[tuple[str, Labels]]] = {}
        """Which gauges a worker's latest message named."""
        self._others = 0
        self.overflowed = 0
        """Growths counted under `overflow` or, where there is no such series, dropped."""
        self.malformed = 0
        """Growths that could not be shown, and were dropped."""

    def add(self, worker: int, metrics: Metrics) -> None:
        """One worker's message, which has all of its gauges: one that is missing is gone, as its cluster is."""
        now = self._clock.monotonic()
        for series in metrics.http:
            self._add_http(series, now)
        for growth in metrics.counters:
            self._add_counter(growth, now)
        for reading in metrics.gauges:
            self._set_gauge(worker, reading)
        told = {(reading.name, reading.labels) for reading in metrics.gauges}
        for name, labels in self._told.get(worker, set()) - told:
            self._gauges.get(name, {}).get(labels, {}).pop(worker, None)
        self._told[worker] = told

    def forget(self, worker: int) -> None:
        """The worker is gone: so is what it had open."""
        self._told.pop(worker, None)
        for family in self._gauges.values():
            for readings in family.values():
                readings.pop(worker, None)

    def expire(self) -> None:
        """Let idle series go."""
        before = self._clock.monotonic() - IDLE_S
        self._http = {key: series for key, series in self._http.items() if series.grown_at > before}
        for name, family in list(self._counters.items()):
            self._counters[name] = {key: each for key, each in family.items() if each.grown_at > before}
        for name, gauges in list(self._gauges.items()):
            self._gauges[name] = {key: readings for key, readings in gauges.items() if readings}
        self._others = sum(map(len, self._counters.values())) + sum(map(len, self._gauges.values()))

    def render(self, *, is_open: bool = False) -> Iterator[str]:
        """Lines of the text format or, `is_open`, of OpenMetrics, with exemplars and without the end."""
        yield from self._render_http(is_open)
        for name, family in sorted(self._counters.items()):
            if family:
                yield header(name, "counter", help_of(name), is_open=is_open)
                yield from (sample(name, label_text(labels), each.value) for labels, each in family.items())
        for name, gauges in sorted(self._gauges.items()):
            shown = {labels: _merged(name, readings) for labels, readings in gauges.items() if readings}
            if shown:
                yield header(name, "gauge", help_of(name), is_open=is_open)
                yield from (sample(name, label_text(labels), value) for labels, value in shown.items())

    def totals(self) -> Iterator[tuple[str, Labels, float]]:
        """Every counter and gauge of the workers but the histograms."""
        for key, series in self._http.items():
            yield "istio_requests_total", tuple(zip(HTTP_LABELS, key, strict=True)), series.requests
        for name, family in self._counters.items():
            for labels, each in family.items():
                yield name, labels, each.value
        for name, gauges in self._gauges.items():
            for labels, readings in gauges.items():
                if readings:
                    yield name, labels, _merged(name, readings)

    def _render_http(self, is_open: bool) -> Iterator[str]:
        if not self._http:
            return
        every = self._http.values()
        yield header("istio_requests_total", "counter", help_of("istio_requests_total"), is_open=is_open)
        yield from (sample("istio_requests_total", series.text, series.requests) for series in every)
        name = "istio_request_duration_milliseconds"
        yield header(name, "histogram", help_of(name), is_open=is_open)
        for series in every:
            seen = series.exemplars if is_open else {}
            yield from _DURATION.lines(name, series.text, series.duration, series.duration_ms_sum, seen)
        name = "istio_request_bytes"
        yield header(name, "histogram", help_of(name), is_open=is_open)
        for series in every:
            yield from _SIZE.lines(name, series.text, series.request, series.request_bytes_sum)
        name = "istio_response_bytes"
        yield header(name, "histogram", help_of(name), is_open=is_open)
        for series in every:
            yield from _SIZE.lines(name, series.text, series.response, series.response_bytes_sum)

    def _add_http(self, growth: HttpSeries, now: float) -> None:
        key = growth.labels
        series = self._http.get(key)
        if series is None:
            if len(key) != len(HTTP_LABELS):
                self.malformed += 1
                return
            if len(self._http) >= self._max_http:
                self.overflowed += 1
                key = tuple(
                    value if name in _KEPT_ON_OVERFLOW else _OVERFLOW
                    for name, value in zip(HTTP_LABELS, key, strict=True)
                )
                series = self._http.get(key)
            if series is None:
                series = self._http[key] = _Http(label_text(zip(HTTP_LABELS, key, strict=True)), now)
        series.add(growth, now)

    def _add_counter(self, growth: Growth, now: float) -> None:
        family = self._counters.setdefault(growth.name, {})
        counter = family.get(growth.labels)
        if counter is None:
            if not self._admit(growth.name, growth.labels):
                return
            counter = family[growth.labels] = _Counter(now)
        counter.grown_at = now
        counter.value += growth.value

    def _set_gauge(self, worker: int, reading: Reading) -> None:
        family = self._gauges.setdefault(reading.name, {})
        readings = family.get(reading.labels)
        if readings is None:
            if not self._admit(reading.name, reading.labels):
                return
            readings = family[reading.labels] = {}
        readings[worker] = reading.value

    def _admit(self, name: str, labels: Labels) -> bool:
        if not is_valid(name, labels) or any(first == second for (first, _), (second, _) in pairwise(sorted(labels))):
            self.malformed += 1
            return False
        if self._others >= self._max_other:
            self.overflowed += 1
            return False
        self._others += 1
        return True
