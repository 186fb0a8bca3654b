"""The collector's own metrics, `remora_collector_*`, in a registry of their own."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.pipeline import Gate
from collectors.store import Store


class Telemetry:
    """Counters that the receivers count in."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace="remora_collector", registry=self.registry)
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
        self.processed = Counter(
            "remora_collector_processed_records",
            "Log records by what a processor made of them: parsed, unparsed, redacted, dropped.",
            ("processor", "outcome"),
            registry=self.registry,
        )
        self.relabelled = Counter(
            "remora_collector_relabelled_samples",
            "Samples that a relabel processor did not hand on: dropped by a rule, or collided with another's labels.",
            ("outcome",),
            registry=self.registry,
        )
        self.aggregation_refused = Counter(
            "remora_collector_aggregation_refused_samples",
            "Samples that an aggregate processor could not sum up, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.cardinality_dropped = Counter(
            "remora_collector_cardinality_dropped_samples",
            "Samples of new series beyond a bound, by the bound: target, metric, total.",
            ("limit",),
            registry=self.registry,
        )
        self.cardinality_series = Gauge(
            "remora_collector_cardinality_series", "Series that are alive.", registry=self.registry
        )
        self.cardinality: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {}
        """Reports of the cardinality guards, by name, for /cardinality."""
        self.left_out = Counter(
            "remora_collector_scrape_lines_left_out",
            "Lines of targets that were not taken: too many series, or a time of their own.",
            ("reason",),
            registry=self.registry,
        )
        self.sampled_traces = Counter(
            "remora_collector_sampling_traces",
            "Traces that a tail_sampling processor decided upon.",
            ("processor", "decision"),
            registry=self.registry,
        )
        self.sampled_spans = Counter(
            "remora_collector_sampling_spans",
            "Spans of decided traces, by the policy that kept them; none; late: they came after the decision.",
            ("processor", "decision", "policy"),
            registry=self.registry,
        )
        self.sampling_early = Counter(
            "remora_collector_sampling_early_traces",
            "Traces decided before their time, since too much was undecided.",
            ("processor",),
            registry=self.registry,
        )
        self._samplers: list[tuple[str, Callable[[], tuple[int, int, bool]]]] = []
        self.unrouted = Counter(
            "remora_collector_unrouted_records",
            "Records that no route of the settings matches: dropped.",
            ("signal",),
            registry=self.registry,
        )
        self.discarded = Counter(
            "remora_collector_discarded_records",
            "Records of routes that have no exporters, or that a filter dropped.",
            ("signal",),
            registry=self.registry,
        )

    async def report_cardinality(self) -> dict[str, Any]:
        """What `/cardinality` shows: each guard's report."""
        return {name: await report() for name, report in self.cardinality.items()}

    def watch(self, store: Store | None, gate: Gate, certificate_expires: Callable[[], float]) -> None:
        """Show the state of these too."""
        self.registry.register(_State(gate, certificate_expires))
        if store is not None:
            self.registry.register(_StoreState(store))

    def watch_sampling(self, processor: str, reading: Callable[[], tuple[int, int, bool]]) -> None:
        """Show a tail_sampling processor's undecided traces, its bytes in memory, and whether its buffer is stalled."""
        if not self._samplers:
            self.registry.register(_SamplingState(self._samplers))
        self._samplers.append((processor, reading))

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)


class _SamplingState(Collector):
    def __init__(self, samplers: list[tuple[str, Callable[[], tuple[int, int, bool]]]]) -> None:
        self._samplers = samplers

    def collect(self) -> Iterable[Metric]:
        sums: dict[str, list[int]] = {}
        for processor, reading in self._samplers:
            # Of several routes with the same processor, all together.
            known = sums.get(processor, [0, 0, 0])
            sums[processor] = [before + value for before, value in zip(known, reading(), strict=True)]
        for index, (name, text) in enumerate(
            (
                ("pending_traces", "Traces not yet decided upon."),
                ("memory_bytes", "Of spans not yet decided upon or handed on, as encoded."),
                ("stalled", "Buffers that take nothing at present."),
            )
        ):
            family = GaugeMetricFamily(f"remora_collector_sampling_{name}", text, labels=["processor"])
            for processor, values in sums.items():
                family.add_metric([processor], float(values[index]))
            yield family


class _State(Collector):
    def __init__(self, gate: Gate, certificate_expires: Callable[[], float]) -> None:
        self._gate = gate
        self._certificate_expires = certificate_expires

    def collect(self) -> Iterable[Metric]:
        for name, text, reading in (
            ("queued_bytes", "Bytes of records received and not stored yet.", float(self._gate.held_bytes)),
            ("waiting_batches", "Batches that wait for room in the queue.", float(self._gate.waiting)),
            (
                "certificate_expiry_timestamp_seconds",
                "When the certificate ends; 0: none.",
                self._certificate_expires(),
            ),
        ):
            yield GaugeMetricFamily(f"remora_collector_{name}", text, value=reading)


class _StoreState(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        stats = self._store.stats
        for name, text, value in (
            ("commits", "Transactions of the store.", stats.commits),
            ("duplicate_records", "Records that the store had already.", stats.duplicates),
            ("rejected_records", "Records that the store cannot hold.", stats.rejected),
            ("retained_out_rows", "Rows deleted by retention.", stats.retained_out),
            ("quarantined_files", "Broken databases moved aside.", stats.quarantined),
            ("failures", "Records that told of a failure.", stats.failures),
            ("failures_merged", "Failures counted as others: too many different ones.", stats.failures_merged),
        ):
            yield CounterMetricFamily(f"remora_collector_store_{name}", text, value=value)
        stored = CounterMetricFamily("remora_collector_stored_records", "New records stored.", labels=["signal"])
        for signal, value in (("logs", stats.logs), ("traces", stats.spans), ("metrics", stats.samples)):
            stored.add_metric([signal], value)
        yield stored
        for name, text, reading in (
            ("store_bytes", "Size of the store's database in use.", float(stats.size_bytes)),
            ("store_stalled", "1 while the store cannot be written to.", float(bool(stats.stalled))),
        ):
            yield GaugeMetricFamily(f"remora_collector_{name}", text, value=reading)
