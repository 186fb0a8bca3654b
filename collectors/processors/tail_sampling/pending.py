"""Traces that wait for their decision, and which pieces of the buffer their spans are from. No I/O."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from collectors.delivery.buffer import Ticket
from collectors.records import SpanRecord


@dataclass(slots=True, eq=False)
class Piece:
    """A piece of the buffer: it may be forgotten once all its spans were dropped or handed on."""

    ticket: Ticket
    unsettled: int


@dataclass(slots=True)
class Span:
    """A span with where it is kept until it is settled."""

    record: SpanRecord
    piece: Piece
    size: int
    """Bytes, about."""


@dataclass(slots=True)
class Trace:
    """An undecided one."""

    trace_id: str
    due: float
    """Monotonic seconds."""
    spans: list[Span] = field(default_factory=list)


class Pending:
    """All of them, by the arrival of their first span."""

    def __init__(self, wait_s: float, max_traces: int) -> None:
        self._wait_s = wait_s
        self._max_traces = max_traces
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._traces)

    def add(self, span: Span, now: float) -> None:
        """A span of an undecided trace."""
        trace_id = span.record.trace_id
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = Trace(trace_id, now + self._wait_s)
        trace.spans.append(span)
        self.bytes += span.size

    @property
    def next_due(self) -> float | None:
        """When the oldest is to be decided; None: there is none."""
        return next(iter(self._traces.values())).due if self._traces else None

    def due(self, now: float, limit: int) -> list[Trace]:
        """Those whose time has come, taken out; at most `limit`."""
        found: list[Trace] = []
        while self._traces and len(found) < limit and next(iter(self._traces.values())).due <= now:
            found.append(self._pop())
        return found

    def surplus(self, max_bytes: int) -> Iterator[Trace]:
        """The oldest of those that are too many or too large together, taken out."""
        while self._traces and (len(self._traces) > self._max_traces or self.bytes > max_bytes):
            yield self._pop()

    def oldest(self, share: float) -> list[Trace]:
        """The oldest `share` of them, one at least if there is one, taken out."""
        return [self._pop() for _ in range(math.ceil(len(self._traces) * share))]

    def _pop(self) -> Trace:
        _, trace = self._traces.popitem(last=False)
        self.bytes -= sum(span.size for span in trace.spans)
        return trace
