"""What the API asks a store of spans. Spans come as Jaeger's documents (exporters.jaeger.documents)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Document = dict[str, Any]

MAX_TRACE_SPANS = 10_000
"""Of one trace; of a larger one the first."""
MAX_ANSWER_SPANS = 50_000
"""Of one search; traces beyond are named as left out."""


class BackendError(Exception):
    """The store cannot answer. The text is for the API's client."""


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """All of it must hold of one span of a trace. Times are microseconds since the epoch, both ends included."""

    service: str
    operation: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    start_us: int = 0
    end_us: int = 0
    min_duration_us: int = 0
    max_duration_us: int = 0
    """0: any."""
    limit: int = 100
    """Of traces."""


class Operation(NamedTuple):
    """A name, and the kind of spans that have it; empty where the store does not know."""

    name: str
    kind: str


class Link(NamedTuple):
    """Calls of one service by another."""

    parent: str
    child: str
    calls: int


@dataclass(slots=True)
class Found:
    """Traces, the newest first, and what is missing of the answer."""

    traces: list[list[Document]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Ids of traces that match and did not fit."""


class Backend(Protocol):
    """A store of spans. Every method raises BackendError."""

    async def services(self) -> list[str]:
        """By name."""

    async def operations(self, service: str, kind: str) -> list[Operation]:
        """By name; of one kind of span, or of all for the empty text."""

    async def find(self, query: TraceQuery) -> Found:
        """Traces that have a span of the query."""

    async def trace(self, trace_id: str) -> list[Document]:
        """By start; `trace_id` has 32 hex digits. Empty: there is none."""

    async def dependencies(self, end_us: int, lookback_us: int) -> list[Link]:
        """Calls between services, in the `lookback_us` before `end_us`."""

    async def close(self) -> None:
        """Give up connections."""
