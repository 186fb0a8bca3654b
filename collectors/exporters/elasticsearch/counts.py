"""What became of records, as metrics `remora_collector_elasticsearch_*` labelled with the exporter's name."""

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.registry import Collector

_TEXTS = {
    "stored": "Records that Elasticsearch stored.",
    "known": "Records that it had already (409).",
    "busy": "Records that it was too busy for (429, 5xx); sent again.",
    "reduced": "Records stored as text alone, since their fields were refused.",
    "refused": "Records refused for good (other 4xx).",
    "clock_off": "Records whose time cannot be; stored under the time of their arrival.",
    "copies": "Copies removed that were stored a second time after a rollover.",
    "requests": "Requests to _bulk.",
    "request_bytes": "Bytes of those before compression.",
}


class Counts:
    """Of one exporter. Those of all exporters of a registry are the same metrics."""

    def __init__(self, registry: CollectorRegistry, exporter: str) -> None:
        self.stored = _counter(registry, "stored").labels(exporter)
        self.known = _counter(registry, "known").labels(exporter)
        self.busy = _counter(registry, "busy").labels(exporter)
        self.reduced = _counter(registry, "reduced").labels(exporter)
        self.refused = _counter(registry, "refused").labels(exporter)
        self.clock_off = _counter(registry, "clock_off").labels(exporter)
        self.copies = _counter(registry, "copies").labels(exporter)
        self.requests = _counter(registry, "requests").labels(exporter)
        self.request_bytes = _counter(registry, "request_bytes").labels(exporter)


def _counter(registry: CollectorRegistry, name: str) -> Counter:
    """Made when the first exporter asks for it."""
    full = f"remora_collector_elasticsearch_{name}"
    # The registry has no public way to ask for a metric that it holds.
    known: Collector | None = registry._names_to_collectors.get(full)
    return known if isinstance(known, Counter) else Counter(full, _TEXTS[name], ("exporter",), registry=registry)
