"""What flows through the pipeline: receivers make it, processors change it, exporters store it. Times are seconds since
the Unix epoch. Named tuples, since tens of thousands are made each second."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PRINCIPAL_KEY = "peer_principal"
"""In the body of a log record: who sent it, by its certificate. Never taken from the sender."""

PRINCIPAL_ATTRIBUTE = "remora.peer_principal"
"""The same in a span's attributes."""

Labels = tuple[tuple[str, str], ...]
"""Sorted by name."""


class LogRecord(NamedTuple):
    """One log line or access record."""

    id: str
    """Unique for ever, and the same when a sender sends the record again."""
    time: float
    tag: str
    workload: str
    severity: str
    """"error", "warning", "info" or "debug"."""
    trace_id: str | None
    """32 hex digits."""
    body: dict[str, Any]


class SpanRecord(NamedTuple):
    """One finished span."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits; unique within its trace."""
    parent_id: str | None
    service: str
    workload: str
    name: str
    kind: str
    """"server", "client", "internal", "producer" or "consumer"."""
    start: float
    duration_ms: float
    error: bool
    attributes: dict[str, Any]
    # The rest of what OTLP says of a span, as plain data: what leaves for another back end is whole.
    resource: dict[str, Any] = {}  # noqa: RUF012 - a default, nobody changes it
    """Attributes of what the span comes from. Shared by many spans: never changed in place."""
    scope: tuple[str, str] = ("", "")
    """Name and version of the instrumentation."""
    ok: bool = False
    """Its status was set to OK, which is more than not set."""
    status_message: str = ""
    events: Sequence[dict[str, Any]] = ()
    """Each `{"name", "time_ns", "attributes"}`, nanoseconds since the Unix epoch."""
    links: Sequence[dict[str, Any]] = ()
    """Each `{"trace_id", "span_id", "trace_state", "attributes"}`, ids in hex."""
    trace_state: str = ""
    flags: int = 0
    """W3C trace flags, and OTLP's two bits about a remote parent."""
    start_ns: int = 0
    """Exactly; 0: `start` is all that is known."""
    end_ns: int = 0
    dropped: tuple[int, int, int] = (0, 0, 0)
    """Attributes, events and links that its sender left out, or that were over the receiver's bounds."""

    def nanos(self) -> tuple[int, int]:
        """Start and end, nanoseconds since the Unix epoch."""
        if self.start_ns:
            return self.start_ns, max(self.start_ns, self.end_ns)
        start = round(self.start * 1_000_000) * 1_000  # no better than microseconds: seconds are a float
        return start, start + round(self.duration_ms * 1_000_000)


class Histogram(NamedTuple):
    """A histogram's reading: cumulative counts by upper bound; the last bound is infinite and its count is all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Exemplar(NamedTuple):
    """One request among those that a series counts."""

    labels: Labels
    """`trace_id`, usually."""
    value: float
    time: float


class Sample(NamedTuple):
    """One reading of one series. `value` None marks the series as ended: its target stopped showing it."""

    name: str
    """A histogram's name is without `_bucket`, `_sum`, `_count`."""
    labels: Labels
    time: float
    value: float | None
    """Of a histogram: its count."""
    histogram: Histogram | None = None
    kind: str = ""
    """"counter", "gauge" or "histogram"; "": nobody said. Counters and histograms begin at zero and only grow."""
    exemplars: tuple[Exemplar, ...] = ()
    """Of a histogram: each belongs to the bucket that its value falls into."""


@dataclass(slots=True)
class Batch:
    """What a receiver got at once and wants stored together."""

    logs: list[LogRecord] = field(default_factory=list)
    spans: list[SpanRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    size_bytes: int = 0
    """About what it takes in memory; what back-pressure counts."""
    sender: str = ""
    """Who sent it, for fair shares: its identity where it has proved one, else its address. Never stored."""

    def __len__(self) -> int:
        return len(self.logs) + len(self.spans) + len(self.samples)

    def records(self) -> list[LogRecord | SpanRecord | Sample]:
        """All of them, in the order logs, spans, samples."""
        return [*self.logs, *self.spans, *self.samples]
