"""The writing statements. Each inserts many rows by one call of sqlite3_step.

Python's sqlite3 gives up and takes back the interpreter's lock around every step, and taking it back from a busy event
loop costs up to the switch interval (5 ms): row by row, a busy collector stored fifty times slower (measured: 1,063 us
instead of 20 us a record). With several hundred rows a step, the loop and the disk work side by side.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence

from collectors.failures import Failure
from collectors.records import Labels
from collectors.store import exemplars, log_counts, log_keys
from collectors.store.error_groups import ErrorGroups
from collectors.store.rows import Row, Rows, SampleRow

_BLOCKS = (256, 32, 4, 1)
"""Rows per statement, largest first: few shapes, so that each stays in the statement cache."""

_LOG = "INSERT INTO logs (id, time, tag, workload, severity, message, trace_id, body) VALUES "
_SPAN = (
    "INSERT INTO spans (trace_id, span_id, parent_id, service, workload, name, kind, start, duration_ms, error, "
    "values_text, attributes, detail) VALUES "
)
_SAMPLE = "INSERT INTO samples (series_id, time_ms, value, histogram) VALUES "


def _insert(connection: sqlite3.Connection, head: str, tail: str, rows: Sequence[Row]) -> int:
    """Returns how many rows were new."""
    if not rows:
        return 0
    width = len(rows[0])
    before = connection.total_changes
    for block in _blocks(rows):
        values = ",".join(["(" + ",".join("?" * width) + ")"] * len(block))
        connection.execute(f"{head}{values} {tail}", [value for row in block for value in row])
    return connection.total_changes - before


def _blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = 0
    for size in _BLOCKS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def _last_rowid(connection: sqlite3.Connection, table: str) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(found[0]) if found else 0


def insert_logs(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Insert what has a new id, index its text and count it. Returns how many were new."""
    if not rows:
        return 0
    last = _last_rowid(connection, "logs")
    # Only the id may conflict: OR IGNORE would also swallow a NULL where none may be.
    new = _insert(connection, _LOG, "ON CONFLICT (id) DO NOTHING", rows)
    if new:
        connection.execute(
            "INSERT INTO logs_text (rowid, message, trace_id, workload, severity) "
            "SELECT rowid, message, trace_id, workload, severity FROM logs WHERE rowid > ?",
            (last,),
        )
        if new == len(rows):
            stored = [row[1:5] for row in rows]
        else:
            select = "SELECT time, tag, workload, severity FROM logs WHERE rowid > ?"
            stored = connection.execute(select, (last,)).fetchall()
        counts = log_counts.counted(stored)
        log_counts.add(connection, counts)
        log_keys.add(connection, last, counts)
    return new


def insert_spans(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Insert what is new, index its text and add it to its trace's summary. Returns how many were new."""
    if not rows:
        return 0
    last = _last_rowid(connection, "spans")
    new = _insert(connection, _SPAN, "ON CONFLICT (trace_id, span_id) DO NOTHING", rows)
    if new:
        connection.execute(
            "INSERT INTO spans_text (rowid, name, service, values_text) "
            "SELECT rowid, name, service, values_text FROM spans WHERE rowid > ?",
            (last,),
        )
        connection.execute(
            "INSERT INTO traces (trace_id, start, finish, spans, error, root) "
            "SELECT trace_id, min(start), max(start + duration_ms / 1000.0), count(*), max(error), "
            "max(CASE WHEN parent_id IS NULL THEN service || char(31) || name END) "
            "FROM spans WHERE rowid > ? GROUP BY trace_id "
            "ON CONFLICT (trace_id) DO UPDATE SET start = min(start, excluded.start), "
            "finish = max(finish, excluded.finish), spans = spans + excluded.spans, "
            "error = max(error, excluded.error), root = coalesce(root, excluded.root)",
            (last,),
        )
    return new


class SeriesNumbers:
    """Numbers of the series already in the database; a cache, cleared when it has grown to `capacity` entries and when
    a transaction that may have made one did not commit."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._numbers: dict[tuple[str, Labels, str], int] = {}
        self._capacity = capacity

    def clear(self) -> None:
        """Forget, and ask the database again."""
        self._numbers.clear()

    def number(self, connection: sqlite3.Connection, row: SampleRow) -> int:
        """The row's series, made if it is new."""
        key = (row.name, row.labels, row.bounds)
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= self._capacity:
                self.clear()
            labels = json.dumps(dict(row.labels), sort_keys=True, ensure_ascii=False)
            connection.execute(
                "INSERT INTO series (name, labels, bounds) VALUES (?, ?, ?) "
                "ON CONFLICT (name, labels, bounds) DO NOTHING",
                (row.name, labels, row.bounds),
            )
            found = connection.execute(
                "SELECT id FROM series WHERE name = ? AND labels = ? AND bounds = ?", (row.name, labels, row.bounds)
            ).fetchone()
            number = self._numbers[key] = int(found[0])
        return number


def insert_samples(connection: sqlite3.Connection, rows: Sequence[SampleRow], series: SeriesNumbers) -> int:
    """A second reading of the same series and millisecond is ignored. Returns how many were new."""
    plain = [(series.number(connection, row), row.time_ms, row.value, row.histogram) for row in rows]
    new = _insert(connection, _SAMPLE, "ON CONFLICT (series_id, time_ms) DO NOTHING", plain)
    if shown := [(series.number(connection, row), row.exemplars) for row in rows if row.exemplars]:
        exemplars.insert(connection, shown)
    return new


def insert(
    connection: sqlite3.Connection, group: Sequence[Rows], series: SeriesNumbers, errors: ErrorGroups, now: float
) -> tuple[int, int, int]:
    """Insert all of it within the caller's transaction, at the time `now`. Returns how many logs, spans and samples
    were new."""
    failures = [failure for rows in group for failure in rows.failures]
    last = (_last_rowid(connection, "logs"), _last_rowid(connection, "spans")) if failures else (0, 0)
    counts = (
        insert_logs(connection, [row for rows in group for row in rows.logs]),
        insert_spans(connection, [row for rows in group for row in rows.spans]),
        insert_samples(connection, [row for rows in group for row in rows.samples], series),
    )
    if failures:
        errors.add(connection, new_failures(connection, failures, *last), now)
    return counts


def new_failures(
    connection: sqlite3.Connection, failures: Sequence[Failure], last_log: int, last_span: int
) -> list[Failure]:
    """Those whose records were not there before: one that is sent again happened once."""
    by_key = {failure.key: failure for failure in failures}
    found: list[Failure] = []
    keys = list(by_key)
    for start in range(0, len(keys), _BLOCKS[0]):
        block = keys[start : start + _BLOCKS[0]]
        marks = ",".join("?" * len(block))
        first = [key[0] for key in block]
        rows = connection.execute(
            f"SELECT id, '' FROM logs WHERE id IN ({marks}) AND rowid > ? "  # noqa: S608
            f"UNION ALL SELECT trace_id, span_id FROM spans WHERE trace_id IN ({marks}) AND rowid > ?",
            [*first, last_log, *first, last_span],
        ).fetchall()
        found += [by_key.pop(key) for key in rows if key in by_key]
    return found
