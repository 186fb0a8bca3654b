"""What is counted of captures."""

from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class State(Enum):
    """How a pod of this node is."""

    WAITING = "waiting"
    """It has no process yet, or its own init containers run first."""
    CAPTURED = "captured"
    FAILED = "failed"
    """It is tried again."""
    REFUSED = "refused"
    """It is not as the injector makes pods, and stays so until it is another."""


class Metrics:
    """Of one agent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.captures = Counter(
            "remora_node_captures",
            "Times that a pod's rules were put (applied), found (unchanged), could not be put (failed) or must not be "
            "(refused)",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("applied", "unchanged", "failed", "refused"):
            self.captures.labels(outcome)
        self.pods = Gauge(
            "remora_node_pods", "Pods of this node with sidecars, by state", ("state",), registry=registry
        )
        for state in State:
            self.pods.labels(state.value)
        self.seconds = Histogram(
            "remora_node_capture_seconds",
            "How long it took to put a pod's rules, once it had a process",
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.scans = Histogram(
            "remora_node_scan_seconds",
            "How long it took to look through the node's processes",
            registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
        )
        self.events_lost = Counter(
            "remora_node_events_lost", "Events on pods that were not written; the log has the same", registry=registry
        )
