"""What the store answers: the types that the command and the console show. Times are seconds since the Unix epoch."""

from dataclasses import dataclass, field
from typing import Any

SERVICE = "service:"
"""In front of the ids of graph nodes that are services."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One stored record."""

    id: str
    time: float
    tag: str
    workload: str
    severity: str
    """"error", "warning", "info" or "debug"; an access record's follows its status."""
    message: str
    """One line for people; an access record is rendered like Envoy's default text."""
    trace_id: str | None
    body: dict[str, Any]
    rowid: int = 0
    """Order of arrival; `after_rowid` of the next query of one who follows."""


@dataclass(frozen=True, slots=True)
class SpanEntry:
    """One stored span."""

    trace_id: str
    span_id: str
    parent_id: str | None
    service: str
    """`service.name` of its resource."""
    workload: str
    name: str
    kind: str
    """"server", "client", "internal", "producer" or "consumer"."""
    start: float
    duration_ms: float
    error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any] = field(default_factory=dict)
    """Attributes of what it comes from."""
    status_message: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"name", "time_ns", "attributes"}`; exceptions are events named `exception`."""
    links: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"trace_id", "span_id", "trace_state", "attributes"}`."""


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A line of the trace search."""

    trace_id: str
    root_service: str
    root_name: str
    start: float
    duration_ms: float
    spans: int
    services: tuple[str, ...]
    error: bool
    root_path: str = ""
    """What was asked for, where the first span says so (`url.path`)."""

    @property
    def request(self) -> str:
        """The root's name, and the path where the name does not tell."""
        if not self.root_path or self.root_path in self.root_name:
            return self.root_name
        return f"{self.root_name} {self.root_path}"


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A workload version, a service of which no workload is known to have answered, or the outside."""

    id: str
    """`NAMESPACE/WORKLOAD`, `service:NAMESPACE/SERVICE`, or `unknown` for clients outside the mesh."""
    workload: str
    """"" of a service."""
    namespace: str
    app: str
    version: str
    requests_per_s: float
    """Arriving."""
    error_rate: float
    """0 to 1, share of what arrives that fails: 5xx, and gRPC's statuses that stand for as much."""
    bytes_per_s: float = 0.0
    """Of connections that carry no requests as far as the mesh knows (TCP, TLS passed through), to both sides."""

    @property
    def is_service(self) -> bool:
        """Whether requests ended at the service: a fault was injected, no endpoint was healthy, or it is outside of the
        mesh. Its `app` is the service's name."""
        return self.id.startswith(SERVICE)


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """Traffic from one node to another over the window."""

    source: str
    destination: str
    requests_per_s: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None
    mtls: bool
    """True only if every request and byte of the window came over mutual TLS."""
    protocol: str
    bytes_per_s: float = 0.0
    """As a node's."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Who talked to whom within `window_s` seconds before `time`."""

    time: float
    window_s: float
    nodes: tuple[GraphNode, ...] = ()
    edges: tuple[GraphEdge, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    """A line of the services page."""

    name: str
    namespace: str
    versions: tuple[str, ...]
    requests_per_s: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None
    mtls: bool
    bytes_per_s: float = 0.0
    """As a node's."""


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """What arrives at a workload, over a window."""

    workload: str
    namespace: str
    app: str
    version: str
    requests_per_s: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None
    mtls: bool
    bytes_per_s: float = 0.0
    """As a node's."""


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """What arrives at one scraped target, an instance of a workload, over a window."""

    workload: str
    """The target's name: a pod's, in a cluster."""
    namespace: str
    requests_per_s: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Example:
    """Traces to look at, of one workload of a service."""

    service: str
    workload: str
    slowest_trace: str
    slowest_ms: float
    failed_trace: str | None
    """The last one with an error of this workload."""


@dataclass(frozen=True, slots=True)
class ExemplarEntry:
    """One request among those that a histogram has counted."""

    name: str
    """Of the histogram."""
    labels: dict[str, str]
    value: float
    time: float
    trace_id: str


@dataclass(frozen=True, slots=True)
class Series:
    """One metric series; points are (time, value), oldest first."""

    name: str
    labels: dict[str, str]
    points: tuple[tuple[float, float], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """One failure with all its occurrences."""

    fingerprint: str
    """16 hexadecimal digits."""
    kind: str
    """"exception", "message", "response" or "span"."""
    service: str
    workload: str
    """Of the last occurrence."""
    title: str
    culprit: str
    """Where: the innermost frame, the logger, the route, the span's name."""
    first_seen: float
    last_seen: float
    count: int
    """Since it was first seen."""
    first_release: str
    """The version that it first appeared in; "" where nothing said."""
    last_release: str
    trace_id: str | None
    """Of the last occurrence that has one; the trace itself leaves the store sooner than the group."""
    sample: str
    """The last occurrence in full."""
    recent: int
    """Occurrences since the time that was asked for, by whole minutes, as far back as records are kept."""
