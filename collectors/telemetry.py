"""The collector's own metrics, `remora_collector_*`, in a registry of their own."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.pipeline import Gate
from collectors.store import Store


class Telemetry:
    """Counters that the receivers count in."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "remora_collector_received_records",
            "Records received, by receiver and signal.",
            ("receiver", "signal"),
            registry=self.registry,
        )
        self.refused = Counter(
            "remora_collector_refused_records",
            "Records answered with an error or partial success.",
            ("receiver", "signal"),
            registry=self.registry,
        )
        self.foreign = Counter(
            "remora_collector_foreign_records",
            "Records refused since they name a workload, service or namespace that is not their sender's.",
            ("receiver", "signal"),
            registry=self.registry,
        )
        self.unacknowledged = Counter(
            "remora_collector_lost_records",
            "Records of senders that wait for no answer, which could not be stored.",
            ("receiver",),
            registry=self.registry,
        )
        self.connections = Counter(
            "remora_collector_connections", "Connections accepted.", ("receiver",), registry=self.registry
        )
        self.closed = Counter(
            "remora_collector_closed_connections",
            "Connections ended by us, by reason.",
            ("receiver", "reason"),
            registry=self.registry,
        )
        self.scrapes = Counter(
            "remora_collector_scrapes", "Scrapes of targets, by outcome.", ("outcome",), registry=self.registry
        )
        self.left_out = Counter(
            "remora_collector_scrape_lines_left_out",
            "Lines of targets that were not taken: too many series, or a time of their own.",
            ("reason",),
            registry=self.registry,
        )

    def watch(self, store: Store, gate: Gate, certificate_expires: Callable[[], float]) -> None:
        """Show the state of these too."""
        self.registry.register(_State(store, gate, certificate_expires))

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)


class _State(Collector):
    def __init__(self, store: Store, gate: Gate, certificate_expires: Callable[[], float]) -> None:
        self._store = store
        self._gate = gate
        self._certificate_expires = certificate_expires

    def collect(self) -> Iterable[Metric]:
        stats = self._store.stats
        for name, text, value in (
            ("commits", "Transactions of the store.", stats.commits),
            ("duplicate_records", "Records that the store had already.", stats.duplicates),
            ("rejected_records", "Records that the store cannot hold.", stats.rejected),
            ("retained_out_rows", "Rows deleted by retention.", stats.retained_out),
            ("quarantined_files", "Broken databases moved aside.", stats.quarantined),
        ):
            yield CounterMetricFamily(f"remora_collector_store_{name}", text, value=value)
        stored = CounterMetricFamily("remora_collector_stored_records", "New records stored.", labels=["signal"])
        for signal, value in (("logs", stats.logs), ("traces", stats.spans), ("metrics", stats.samples)):
            stored.add_metric([signal], value)
        yield stored
        for name, text, reading in (
            ("store_bytes", "Size of the store's database in use.", float(stats.size_bytes)),
            ("store_stalled", "1 while the store cannot be written to.", float(bool(stats.stalled))),
            ("queued_bytes", "Bytes of records received and not stored yet.", float(self._gate.held_bytes)),
            ("waiting_batches", "Batches that wait for room in the queue.", float(self._gate.waiting)),
            (
                "certificate_expiry_timestamp_seconds",
                "When the certificate ends; 0: none.",
                self._certificate_expires(),
            ),
        ):
            yield GaugeMetricFamily(f"remora_collector_{name}", text, value=reading)
