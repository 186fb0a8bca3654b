"""Log questions as SQL."""

import sqlite3
from dataclasses import replace
from typing import Any

from collectors.store import log_counts, log_keys
from collectors.store.answers import LogEntry
from collectors.store.bodies import decode_body
from collectors.store.log_filter import Asked, Filter, ask

MAX_LIMIT = 10_000
_LATE = 1_000
"""A text search orders by time among this many more records than asked for, taken by arrival: so many may have arrived
late and still be in their place."""

Row = tuple[Any, ...]

_COLUMNS = "l.id, l.time, l.tag, l.workload, l.severity, l.message, l.trace_id, l.body, l.rowid"


def select(connection: sqlite3.Connection, query: Filter, limit: int) -> list[LogEntry]:
    """Newest first; with `after_rowid` the first `limit` arrivals after it."""
    limit = max(0, min(limit, MAX_LIMIT))
    asked = ask(connection, query)
    if asked is None:
        return []
    following = query.after_rowid is not None
    if asked.matches:
        # Walk the index by arrival, stop at the limit.
        rows = _records(connection, asked, "t.rowid" if following else "t.rowid DESC", limit + _LATE * (not following))
    elif following:
        rows = _records(connection, asked, "k.rowid", limit)
    elif asked.is_sparse(limit):
        rows = _records(connection, asked, "k.time DESC, k.rowid DESC", limit)
    else:
        conditions, values = asked.query.conditions()
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM logs AS l WHERE {conditions} "  # noqa: S608
            "ORDER BY l.time DESC, l.rowid DESC LIMIT :limit",
            {**values, "limit": limit},
        ).fetchall()
    rows.sort(key=lambda row: (row[1], row[8]), reverse=True)
    return [
        LogEntry(id_, time, tag, workload, severity, message, trace_id, decode_body(body), rowid)
        for id_, time, tag, workload, severity, message, trace_id, body, rowid in rows[:limit]
    ]


def _records(connection: sqlite3.Connection, asked: Asked, order: str, limit: int) -> list[Row]:
    """The first in the order of matches (`t`) or keys (`k`); no other record is read."""
    by_text = order.startswith("t.")
    found, values = asked.statement("t.rowid AS found" if by_text else "k.rowid AS found", by_text=by_text)
    statement = (
        f"SELECT {_COLUMNS} FROM ({found} ORDER BY {order} LIMIT :limit) "  # noqa: S608
        "CROSS JOIN logs AS l ON l.rowid = found"
    )
    return _rows(connection, statement, {**values, "limit": limit}, asked.matches)


def count(connection: sqlite3.Connection, query: Filter) -> int:
    """All that match."""
    asked = ask(connection, query)
    if asked is None:
        return 0
    query = asked.query
    if asked.matches or query.trace_id is not None or query.after_rowid is not None:
        statement, values = asked.statement("count(*)", by_text=bool(asked.matches))
        rows = _rows(connection, statement, values, asked.matches)
        return int(rows[0][0]) if rows else 0
    first, end = log_counts.whole_minutes(query.since, query.until)
    if first is None and end is None:
        return log_keys.kinds(connection, query.facets)[1]
    if first is not None and end is not None and first >= end:
        return _count_each(connection, query)
    # Whole minutes are counted already; what is left are the parts of minutes at both ends.
    found = log_counts.total(connection, (first, end), query.facets)
    if first is not None:
        found += _count_each(connection, replace(query, until=float(first * log_counts.MINUTE_S)))
    if end is not None:
        found += _count_each(connection, replace(query, since=float(end * log_counts.MINUTE_S)))
    return found


def _count_each(connection: sqlite3.Connection, query: Filter) -> int:
    conditions, values = query.conditions()
    found = connection.execute(f"SELECT count(*) FROM logs AS l WHERE {conditions}", values).fetchone()  # noqa: S608
    return int(found[0])


def _rows(
    connection: sqlite3.Connection, statement: str, values: dict[str, object], matches: list[str]
) -> list[tuple[Any, ...]]:
    """Run with the first of `matches` that is a valid FTS5 query; as it is where there are none."""
    if not matches:
        return connection.execute(statement, values).fetchall()
    for match in matches:
        if not match:
            continue
        try:
            return connection.execute(statement, {**values, "match": match}).fetchall()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                raise
    return []
