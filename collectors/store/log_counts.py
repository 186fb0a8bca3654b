"""How many log records there are of each minute, tag, workload and severity, counted in the transaction that stores or
deletes them: so that to count a million of them is not to read a million entries of an index."""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable

MINUTE_S = 60

Key = tuple[int, str, str, str]
"""Minute of the Unix epoch, tag, workload, severity."""
Facets = tuple[str | None, str | None, str | None]
"""Tag, workload, severity; None: any."""
_BLOCK = 64
"""Rows per statement."""
_FIRST, _LAST = -(2**63), 2**63 - 1
"""What SQLite has integers for: clocks that are further off are as far off as that."""


def counted(records: Iterable[tuple[float, str, str, str]]) -> Counter[Key]:
    """Of records' times, tags, workloads and severities."""
    return Counter([(int(time // MINUTE_S), tag, workload, severity) for time, tag, workload, severity in records])


def add(connection: sqlite3.Connection, counts: Counter[Key]) -> None:
    """Within the caller's transaction."""
    rows = [(_bounded(key[0]), *key[1:], count) for key, count in counts.items()]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        values = ",".join(["(?,?,?,?,?)"] * len(block))
        connection.execute(
            f"INSERT INTO log_counts (minute, tag, workload, severity, count) VALUES {values} "  # noqa: S608
            "ON CONFLICT (minute, tag, workload, severity) DO UPDATE SET count = count + excluded.count",
            [value for row in block for value in row],
        )


def subtract(connection: sqlite3.Connection, counts: Counter[Key]) -> None:
    """Within the caller's transaction. What comes to nothing leaves."""
    rows = [(count, _bounded(key[0]), *key[1:]) for key, count in counts.items()]
    where = "WHERE minute = ? AND tag = ? AND workload = ? AND severity = ?"
    connection.executemany(f"UPDATE log_counts SET count = count - ? {where}", rows)  # noqa: S608
    connection.executemany(f"DELETE FROM log_counts {where} AND count <= 0", [row[1:] for row in rows])  # noqa: S608


def whole_minutes(since: float | None, until: float | None) -> tuple[int | None, int | None]:
    """The first minute that lies whole at or after `since`, and the first that does not before `until`; None: no bound
    on that side."""
    return (
        None if since is None else _bounded(math.ceil(since / MINUTE_S)),
        None if until is None else _bounded(math.floor(until / MINUTE_S)),
    )


def _bounded(minute: int) -> int:
    return max(_FIRST, min(minute, _LAST))


def total(connection: sqlite3.Connection, minutes: tuple[int | None, int | None], facets: Facets) -> int:
    """Records of the minutes from the first up to the second, without it; None: any."""
    parts = ["TRUE"]
    values: list[object] = []
    for condition, value in zip(
        ("minute >= ?", "minute < ?", "tag = ?", "workload = ?", "severity = ?"), (*minutes, *facets), strict=True
    ):
        if value is not None:
            parts.append(condition)
            values.append(value)
    statement = f"SELECT coalesce(sum(count), 0) FROM log_counts WHERE {' AND '.join(parts)}"  # noqa: S608
    return int(connection.execute(statement, values).fetchone()[0])


def times(connection: sqlite3.Connection) -> tuple[float, float] | None:
    """Seconds since the epoch that no record is before, and that all are before; None for none."""
    first, last = connection.execute(
        "SELECT (SELECT min(minute) FROM log_counts), (SELECT max(minute) FROM log_counts)"
    ).fetchone()
    if first is None:
        return None
    return (
        -math.inf if first == _FIRST else float(first * MINUTE_S),
        math.inf if last == _LAST else float((last + 1) * MINUTE_S),
    )
