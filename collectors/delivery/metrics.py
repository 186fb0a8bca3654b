"""What deliveries say of themselves, under their names for Prometheus: `remora_collector_exporter_*`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.delivery.stats import DeliveryStats

_PREFIX = "remora_collector_exporter_"
_SIGNALS = ("logs", "traces", "metrics")

_BY_SIGNAL: tuple[tuple[str, str, Callable[[DeliveryStats], "Counter[str]"]], ...] = (
    ("buffered_records", "Records made durable in the exporter's buffer.", lambda stats: stats.buffered),
    ("sent_records", "Records stored by the back end.", lambda stats: stats.sent),
    ("again_records", "Records that had to be sent again.", lambda stats: stats.again),
    ("refused_records", "Records refused for good: in the dead-letter file.", lambda stats: stats.refused),
)
_COUNTERS: tuple[tuple[str, str, Callable[[DeliveryStats], float]], ...] = (
    ("quarantined_segments", "Damaged buffer files.", lambda stats: stats.disk.quarantined_segments),
    ("torn_bytes", "Bytes cut off buffer files: being written when a process ended.", lambda s: s.disk.torn_bytes),
    ("dead_letter_files_dropped", "Files of dead letters removed to make room.", lambda s: s.dead_letters_dropped),
    ("syncs", "Rounds of writing to the buffer's disk.", lambda stats: stats.syncs),
    ("sync_seconds", "Time that these took.", lambda stats: stats.sync_s),
)
_GAUGES: tuple[tuple[str, str, Callable[[DeliveryStats], float]], ...] = (
    ("queue_bytes", "Bytes in the buffer that are not delivered.", lambda stats: stats.disk.undelivered_bytes),
    ("buffer_bytes", "Bytes of the buffer's files.", lambda stats: stats.disk.bytes),
    ("buffer_segments", "Files of the buffer.", lambda stats: stats.disk.segments),
    ("memory_bytes", "Bytes of batches kept decoded, as encoded.", lambda stats: stats.memory_bytes),
    ("waiting_batches", "Batches received and not yet durable.", lambda stats: stats.waiting),
    ("in_flight_requests", "Requests under way.", lambda stats: stats.in_flight),
    ("stalled", "1 while nothing can be acknowledged.", lambda stats: float(bool(stats.stalled))),
    ("failing", "1 since the back end's last failure, until it answers.", lambda s: float(bool(s.failing_since))),
    ("last_error_timestamp_seconds", "When the back end failed last; 0: never.", lambda s: s.last_error_time),
)


class DeliveryMetrics(Collector):
    """Of all exporters with a buffer."""

    def __init__(self, deliveries: Sequence[tuple[str, DeliveryStats]], now: Callable[[], float]) -> None:
        self._deliveries = deliveries
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        for name, text, counts in _BY_SIGNAL:
            family = CounterMetricFamily(_PREFIX + name, text, labels=["exporter", "signal"])
            for exporter, stats in self._deliveries:
                for signal in _SIGNALS:
                    family.add_metric([exporter, signal], counts(stats)[signal])
            yield family
        yield self._dropped()
        yield self._quarantined()
        yield self._requests()
        for name, text, count in _COUNTERS:
            family = CounterMetricFamily(_PREFIX + name, text, labels=["exporter"])
            for exporter, stats in self._deliveries:
                family.add_metric([exporter], count(stats))
            yield family
        for name, text, reading in _GAUGES:
            gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["exporter"])
            for exporter, stats in self._deliveries:
                gauge.add_metric([exporter], reading(stats))
            yield gauge
        yield self._age()

    def _dropped(self) -> Metric:
        text = "Records given up, since the buffer was full (overflow) or they were too old (age)."
        family = CounterMetricFamily(_PREFIX + "dropped_records", text, labels=["exporter", "signal", "reason"])
        for exporter, stats in self._deliveries:
            for signal in _SIGNALS:
                for reason in ("overflow", "age"):
                    family.add_metric([exporter, signal, reason], stats.dropped[signal, reason])
        return family

    def _quarantined(self) -> Metric:
        text = "Records in damaged parts of the buffer, where their number can be read."
        family = CounterMetricFamily(_PREFIX + "quarantined_records", text, labels=["exporter", "signal"])
        for exporter, stats in self._deliveries:
            for signal, count in zip(_SIGNALS, stats.disk.quarantined, strict=True):
                family.add_metric([exporter, signal], count)
        return family

    def _requests(self) -> Metric:
        text = "Requests to the back end, by outcome."
        family = CounterMetricFamily(_PREFIX + "requests", text, labels=["exporter", "outcome"])
        for exporter, stats in self._deliveries:
            for outcome in ("ok", "partial", "unavailable", "too_large", "failed"):
                family.add_metric([exporter, outcome], stats.requests[outcome])
        return family

    def _age(self) -> Metric:
        text = "Age of the oldest record that is not delivered."
        family = GaugeMetricFamily(_PREFIX + "oldest_age_seconds", text, labels=["exporter"])
        now = self._now()
        for exporter, stats in self._deliveries:
            family.add_metric([exporter], max(0.0, now - stats.oldest_time) if stats.oldest_time else 0.0)
        return family
