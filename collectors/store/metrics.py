"""Stored samples: which series there are, and how much each grew over a window.

Only changes are stored, with both ends of every stretch in which a value stayed the same and a repetition once a
minute; a NULL ends a series. So a value holds until the next one, for at most `LOOKBACK_S`.
"""

import json
import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from collectors.records import Histogram
from collectors.store.answers import Series
from collectors.store.rows import decode_histogram

LOOKBACK_S = 150.0
"""A reading older than this says nothing any more: two and a half of the scraper's repetitions."""

MAX_POINTS = 20_000
"""Of one series in an answer; the newest."""


@dataclass(frozen=True, slots=True)
class Known:
    """One series of the database."""

    number: int
    name: str
    labels: dict[str, str]
    bounds: tuple[float, ...] | None
    """A histogram's finite upper bounds."""


class Catalogue:
    """The series by name, read once each: rows of the table are never changed, and numbers never used twice."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[int, Known]] = {}

    def find(self, connection: sqlite3.Connection, name: str) -> list[Known]:
        """All series of that name."""
        known = self._by_name.setdefault(name, {})
        present = {number for (number,) in connection.execute("SELECT id FROM series WHERE name = ?", (name,))}
        for gone in known.keys() - present:
            del known[gone]
        for number in sorted(present - known.keys()):
            labels, bounds = connection.execute("SELECT labels, bounds FROM series WHERE id = ?", (number,)).fetchone()
            known[number] = Known(number, name, json.loads(labels), tuple(json.loads(bounds)) if bounds else None)
        return list(known.values())


def latest_alive(connection: sqlite3.Connection, series: Known, now: float) -> bool:
    """Whether its target still shows it."""
    row = connection.execute(
        "SELECT value FROM samples WHERE series_id = ? AND time_ms BETWEEN ? AND ? ORDER BY time_ms DESC LIMIT 1",
        (series.number, int((now - LOOKBACK_S) * 1000), int(now * 1000)),
    ).fetchone()
    return row is not None and row[0] is not None


_Point = tuple[int, float | None]


def _points(connection: sqlite3.Connection, number: int, start_ms: int, end_ms: int) -> list[_Point]:
    """Readings within the window, preceded by the one that held at its start."""
    before = connection.execute(
        "SELECT time_ms, value FROM samples WHERE series_id = ? AND time_ms <= ? AND time_ms > ? "
        "ORDER BY time_ms DESC LIMIT 1",
        (number, start_ms, start_ms - int(LOOKBACK_S * 1000)),
    ).fetchall()
    return (
        before
        + connection.execute(
            "SELECT time_ms, value FROM samples WHERE series_id = ? AND time_ms > ? AND time_ms <= ? ORDER BY time_ms",
            (number, start_ms, end_ms),
        ).fetchall()
    )


def _runs(points: list[_Point]) -> list[tuple[_Point, _Point]]:
    """First and last reading of each run in which the counter never fell. A fall is a restart from zero, and what the
    counter shows then has been counted since. An end (NULL) is no reading."""
    runs: list[tuple[_Point, _Point]] = []
    previous: float | None = None
    for point in points:
        value = point[1]
        if value is None:
            continue
        if previous is None or value < previous:
            runs.append((point, point))
        else:
            runs[-1] = (runs[-1][0], point)
        previous = value
    return runs


def increase(connection: sqlite3.Connection, series: Known, start: float, end: float) -> float:
    """How much a counter grew between the two times, restarts included; not extrapolated."""
    runs = _runs(_points(connection, series.number, int(start * 1000), int(end * 1000)))
    total = 0.0
    for index, (first, last) in enumerate(runs):
        base = first[1] if index == 0 else 0.0
        total += (last[1] or 0.0) - (base or 0.0)
    return total


def histogram_increase(connection: sqlite3.Connection, series: Known, start: float, end: float) -> Histogram | None:
    """What a histogram gathered between the two times; None if nothing."""
    runs = _runs(_points(connection, series.number, int(start * 1000), int(end * 1000)))
    if not runs or series.bounds is None:
        return None
    sums, counts = 0.0, [0] * (len(series.bounds) + 1)
    for index, (first, last) in enumerate(runs):
        reading = _histogram_at(connection, series, last[0])
        base = _histogram_at(connection, series, first[0]) if index == 0 else None
        if reading is None or len(reading.counts) != len(counts):
            continue
        for position, value in enumerate(reading.counts):
            counts[position] += value
        sums += reading.sum
        if base is not None and len(base.counts) == len(counts):
            for position, value in enumerate(base.counts):
                counts[position] -= value
            sums -= base.sum
    return Histogram((*series.bounds, math.inf), tuple(counts), sums) if counts[-1] > 0 else None


def _histogram_at(connection: sqlite3.Connection, series: Known, time_ms: int) -> Histogram | None:
    row = connection.execute(
        "SELECT histogram FROM samples WHERE series_id = ? AND time_ms = ?", (series.number, time_ms)
    ).fetchone()
    if row is None or row[0] is None or series.bounds is None:
        return None
    return decode_histogram(series.bounds, row[0])


def merge(histograms: list[Histogram]) -> Histogram | None:
    """The sum of those that have the first one's bounds."""
    if not histograms:
        return None
    first = histograms[0]
    alike = [one for one in histograms if one.bounds == first.bounds]
    counts = tuple(sum(column) for column in zip(*(one.counts for one in alike), strict=True))
    return Histogram(first.bounds, counts, sum(one.sum for one in alike))


def quantile(q: float, histogram: Histogram | None) -> float | None:
    """As Prometheus' histogram_quantile: linear within the bucket; the largest finite bound for what lies beyond it."""
    if histogram is None or histogram.counts[-1] <= 0:
        return None
    rank = q * histogram.counts[-1]
    below, lower = 0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
        if count >= rank:
            if math.isinf(bound):
                return lower
            if count == below:
                return bound
            return lower + (bound - lower) * (rank - below) / (count - below)
        below, lower = count, bound
    return lower


def series(
    connection: sqlite3.Connection,
    catalogue: Catalogue,
    name: str,
    labels: dict[str, str],
    since: float | None,
    until: float | None,
    limit: int,
) -> list[Series]:
    """As Reader.series says."""
    wanted = dict(labels)
    base, part = split(name)
    bucket = wanted.pop("le", None) if part == "bucket" else None
    found: list[Series] = []
    candidates = catalogue.find(connection, name)
    if part and not candidates:
        candidates = [one for one in catalogue.find(connection, base) if one.bounds is not None]
    for known in sorted(candidates, key=lambda one: one.number):
        if any(known.labels.get(key) != value for key, value in wanted.items()):
            continue
        found.extend(_expand(known, name, part, bucket, _rows(connection, known.number, since, until)))
        if len(found) >= limit:
            break
    return found[: max(0, limit)]


def split(name: str) -> tuple[str, str]:
    """A histogram's name, and which part of it: "bucket", "count", "sum"; "" for none."""
    for part in ("bucket", "count", "sum"):
        if name.endswith(f"_{part}"):
            return name[: -len(part) - 1], part
    return name, ""


def _rows(connection: sqlite3.Connection, number: int, since: float | None, until: float | None) -> list[Any]:
    return connection.execute(
        "SELECT time_ms, value, histogram FROM samples WHERE series_id = ? AND time_ms >= ? AND time_ms < ? "
        "ORDER BY time_ms DESC LIMIT ?",
        (
            number,
            0 if since is None else math.ceil(since * 1000),
            1 << 62 if until is None else math.ceil(until * 1000),
            MAX_POINTS,
        ),
    ).fetchall()[::-1]


def _expand(known: Known, name: str, part: str, bucket: str | None, rows: list[Any]) -> list[Series]:
    readings = [row for row in rows if row[1] is not None]
    if not readings:
        return []
    if known.bounds is None or part in ("", "count"):
        return [Series(name, dict(known.labels), tuple((time / 1000, value) for time, value, _ in readings))]
    histograms = [(time / 1000, decode_histogram(known.bounds, blob)) for time, _, blob in readings if blob is not None]
    if part == "sum":
        return [Series(name, dict(known.labels), tuple((time, one.sum) for time, one in histograms))]
    expanded = []
    for index, bound in enumerate((*known.bounds, math.inf)):
        le = "+Inf" if math.isinf(bound) else f"{bound:g}" if bound < 1e6 else str(bound)
        if bucket is not None and _bound(bucket) != bound:
            continue
        points = tuple((time, float(one.counts[index])) for time, one in histograms if index < len(one.counts))
        expanded.append(Series(name, {**known.labels, "le": le}, points))
    return expanded


def _bound(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
