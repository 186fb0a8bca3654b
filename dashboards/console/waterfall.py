"""A trace's spans as rows and bars. Pure: span times in, shares of the trace's width out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collectors.store.answers import SpanEntry

MIN_WIDTH = 0.002
"""Share of the width that even the shortest bar takes, to be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: where its bar lies (shares of the trace's duration) and how it hangs in the tree."""

    span: SpanEntry
    depth: int
    left: float
    width: float
    offset_ms: float
    """Start after the trace's start."""
    children: int
    parent_missing: bool
    """The parent's span is not in the trace: not sampled, not yet here, or lost."""
    before_parent: bool
    """Starts more than a millisecond before its parent: the two machines' clocks disagree."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """Rows in the order of a depth-first walk, siblings by start."""

    bars: tuple[Bar, ...]
    start: float
    duration_ms: float
    ticks: tuple[float, ...]
    """Round offsets in milliseconds, the first 0."""


def lay_out(spans: Iterable[SpanEntry]) -> Waterfall:
    """Order and place the spans of one trace. An empty trace gives an empty waterfall."""
    ordered = sorted(spans, key=lambda span: (span.start, -span.duration_ms, span.span_id))
    if not ordered:
        return Waterfall((), 0.0, 0.0, (0.0,))
    start = ordered[0].start
    total_ms = max((span.start - start) * 1000 + span.duration_ms for span in ordered)
    by_id: dict[str, int] = {}
    for index, span in enumerate(ordered):
        # An id that two spans share (Zipkin's client and server do) belongs to the earlier one.
        by_id.setdefault(span.span_id, index)
    parents = [_parent(index, span, by_id) for index, span in enumerate(ordered)]
    bars = []
    for index, depth, children in _walk(parents):
        span, parent = ordered[index], parents[index]
        offset_ms = (span.start - start) * 1000
        left = offset_ms / total_ms if total_ms > 0 else 0.0
        width = max(span.duration_ms / total_ms if total_ms > 0 else 1.0, MIN_WIDTH)
        left = min(left, 1 - MIN_WIDTH)
        bars.append(
            Bar(
                span,
                depth,
                left,
                min(width, 1 - left),
                offset_ms,
                children,
                parent_missing=bool(span.parent_id) and parent is None,
                before_parent=parent is not None and ordered[parent].start - span.start > 0.001,
            )
        )
    return Waterfall(tuple(bars), start, total_ms, ticks(total_ms))


def _parent(index: int, span: SpanEntry, by_id: dict[str, int]) -> int | None:
    parent = by_id.get(span.parent_id) if span.parent_id else None
    if parent != index:
        return parent
    # A span whose parent carries its own id is the server half of a shared Zipkin span, or names itself.
    return None


def _walk(parents: Sequence[int | None]) -> list[tuple[int, int, int]]:
    """(index, depth, number of children) depth first. What hangs on a cycle of parents is appended as roots."""
    children: dict[int | None, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    rows: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    for first in [*children.get(None, []), *range(len(parents))]:
        stack = [(first, 0)]
        while stack:
            index, depth = stack.pop()
            if index in seen:
                continue
            seen.add(index)
            below = children.get(index, [])
            rows.append((index, depth, len(below)))
            stack += [(child, depth + 1) for child in reversed(below)]
    return rows


def ticks(duration_ms: float, wanted: int = 5) -> tuple[float, ...]:
    """Round offsets from 0 up to `duration_ms`, about `wanted` of them: steps of 1, 2 or 5 times a power of ten."""
    if duration_ms <= 0:
        return (0.0,)
    step = 1e-6
    while duration_ms / step > wanted:
        for factor in (2, 2.5, 2):
            step *= factor
            if duration_ms / step <= wanted:
                break
    return tuple(round(index * step, 9) for index in range(int(duration_ms / step + 1e-9) + 1))
