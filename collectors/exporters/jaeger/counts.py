"""What became of spans, as metrics `remora_collector_jaeger_*` labelled with the exporter's name."""

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.registry import Collector

_TEXTS = {
    "stored": "Spans that Elasticsearch stored.",
    "known": "Spans that it had already (409).",
    "reduced": "Spans stored without tags and logs, since those were refused.",
    "undatable": "Spans refused since they began too long ago or ahead of the clock.",
    "requests": "Requests to _bulk.",
    "dependency_windows": "Windows of time whose calls between services were counted.",
    "dependency_failures": "Attempts at that which failed.",
}


class JaegerCounts:
    """Of one exporter. Those of all exporters of a registry are the same metrics."""

    def __init__(self, registry: CollectorRegistry, exporter: str) -> None:
        def counter(name: str) -> Counter:
            full = f"remora_collector_jaeger_{name}"
            # The registry has no public way to ask for a metric that it holds.
            known: Collector | None = registry._names_to_collectors.get(full)
            made = (
                known if isinstance(known, Counter) else Counter(full, _TEXTS[name], ("exporter",), registry=registry)
            )
            labelled: Counter = made.labels(exporter)
            return labelled

        self.stored = counter("stored")
        self.known = counter("known")
        self.reduced = counter("reduced")
        self.undatable = counter("undatable")
        self.requests = counter("requests")
        self.dependency_windows = counter("dependency_windows")
        self.dependency_failures = counter("dependency_failures")
