"""The query service's own metrics."""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class QueryTelemetry:
    """Counts what was answered."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answered = Counter(
            "remora_query_answers", "Requests answered, by what they asked for and status.", ("asked", "status"),
            registry=self.registry,
        )  # fmt: skip

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)
