"""Requests that stand for a histogram's bucket: of each series and bucket the last few, with their trace.

Three are kept, each the latest of its half minute, so that a slow request is not driven out at once by the next one.
One row is written over another: nothing has to be counted or cleared away, and the table is as large as there are
buckets.
"""

import math
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collectors.records import Sample

KEPT = 3
"""Of one bucket of one series."""
SLOT_MS = 30_000
_DIGITS = 32

_PUT = (
    "INSERT INTO exemplars (series_id, bucket, slot, time_ms, value, trace_id) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (series_id, bucket, slot) DO UPDATE SET time_ms = excluded.time_ms, value = excluded.value, "
    "trace_id = excluded.trace_id WHERE excluded.time_ms >= exemplars.time_ms"
)


@dataclass(frozen=True, slots=True)
class ExemplarRow:
    """One, whose series still needs its number."""

    bucket: int
    """Which of the histogram's, from the fastest."""
    time_ms: int
    value: float
    trace_id: str


def rows_of(sample: Sample) -> tuple[ExemplarRow, ...]:
    """Those that can be stored: of a histogram, with a number, a time and a trace."""
    histogram = sample.histogram
    if histogram is None or not sample.exemplars:
        return ()
    found = []
    for one in sample.exemplars:
        trace_id = dict(one.labels).get("trace_id", "").lower()
        if len(trace_id) == _DIGITS and math.isfinite(one.value) and math.isfinite(one.time):
            bucket = bisect_left(histogram.bounds, one.value)
            found.append(ExemplarRow(bucket, int(one.time * 1000), one.value, trace_id))
    return tuple(found)


def insert(connection: sqlite3.Connection, rows: Iterable[tuple[int, Sequence[ExemplarRow]]]) -> None:
    """`rows`: by their series' number. In the caller's transaction."""
    connection.executemany(
        _PUT,
        [
            (number, one.bucket, one.time_ms // SLOT_MS % KEPT, one.time_ms, one.value, one.trace_id)
            for number, found in rows
            for one in found
        ],
    )
