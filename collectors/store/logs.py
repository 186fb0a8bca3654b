"""Log questions as SQL."""

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from collectors.store import log_counts, trace_ids
from collectors.store.answers import LogEntry
from collectors.store.bodies import decode_body
from collectors.store.fulltext import attempts

MAX_LIMIT = 10_000
_LATE = 1_000
"""A text search orders by time among this many more records than asked for, taken by arrival: so many may have arrived
late and still be in their place."""

_COLUMNS = "l.id, l.time, l.tag, l.workload, l.severity, l.message, l.trace_id, l.body, l.rowid"


@dataclass(frozen=True, slots=True)
class Filter:
    """All of it must hold; None and empty hold for everything."""

    text: str = ""
    workload: str | None = None
    tag: str | None = None
    severity: str | None = None
    trace_id: str | None = None
    since: float | None = None
    until: float | None = None
    after_rowid: int | None = None

    def conditions(self) -> tuple[str, dict[str, object]]:
        """SQL over `logs AS l`, and its parameters."""
        parts: list[str] = []
        values: dict[str, object] = {}
        begun = self._id_beginnings()
        if begun:
            part, values = trace_ids.condition("l.trace_id", begun)
            parts.append(part)
        for name, operator, value in (
            ("workload", "=", self.workload),
            ("tag", "=", self.tag),
            ("severity", "=", self.severity),
            ("trace_id", "=", None if begun else self.trace_id),
            ("time", ">=", self.since),
            ("time", "<", self.until),
            ("rowid", ">", self.after_rowid),
        ):
            if value is not None:
                key = f"p{len(values)}"
                parts.append(f"l.{name} {operator} :{key}")
                values[key] = value
        return " AND ".join(parts) or "TRUE", values

    def is_range(self) -> bool:
        """Whether what meets the conditions are neighbours in an index."""
        return self.tag is None and self.severity is None and self.trace_id is None and self.after_rowid is None

    def _id_beginnings(self) -> tuple[str, ...]:
        return () if self.trace_id is None else trace_ids.beginnings(self.trace_id)

    def matches(self) -> list[str]:
        """FTS5 queries to try in turn; empty when the index is not needed, [""] when nothing can match."""
        # Words of the other columns narrow the walk inside the index; the conditions then make it exact.
        begun = self._id_beginnings()
        narrow = [f"trace_id : ({_or_beginnings(begun)})"] if begun else []
        narrow += [
            f"{column} : {quote(value)}"
            for column, value in (
                ("trace_id", None if begun else self.trace_id),
                ("workload", self.workload),
                ("severity", self.severity),
            )
            if value is not None and any(char.isalnum() for char in value)
        ]
        if self.text.strip():
            # What looks like the beginning of an id finds the ids, too.
            id_ = trace_ids.beginnings(self.text.strip())
            words = [f"{{message trace_id}} : ({one})" for one in attempts(self.text)]
            if id_:
                words = [f"({one} OR trace_id : ({_or_beginnings(id_)}))" for one in words]
            return [" AND ".join([one, *narrow]) for one in words] or [""]
        return [narrow[0]] if self.trace_id is not None and narrow else []


def _or_beginnings(ids: tuple[str, ...]) -> str:
    return " OR ".join(f"{quote(one)} *" for one in ids)


def quote(word: str) -> str:
    """A string of FTS5's query language."""
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'


def select(connection: sqlite3.Connection, query: Filter, limit: int) -> list[LogEntry]:
    """Newest first; with `after_rowid` the first `limit` arrivals after it."""
    limit = max(0, min(limit, MAX_LIMIT))
    conditions, values = query.conditions()
    following = query.after_rowid is not None
    matches = query.matches()
    if not matches:
        if following:
            order, source = "l.rowid ASC", "logs AS l NOT INDEXED"
        else:
            order, source = "l.time DESC, l.rowid DESC", "logs AS l"
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM {source} WHERE {conditions} ORDER BY {order} LIMIT :limit",  # noqa: S608
            {**values, "limit": limit},
        ).fetchall()
    else:
        # CROSS JOIN fixes the order: walk the index by arrival, stop at the limit.
        statement = (
            f"SELECT {_COLUMNS} FROM logs_text AS t CROSS JOIN logs AS l ON l.rowid = t.rowid "  # noqa: S608
            f"WHERE logs_text MATCH :match AND {conditions} "
            f"ORDER BY t.rowid {'ASC' if following else 'DESC'} LIMIT :limit"
        )
        candidates = limit if following else limit + _LATE
        rows = first_valid(connection, statement, {**values, "limit": candidates}, matches)
    rows.sort(key=lambda row: (row[1], row[8]), reverse=True)
    return [
        LogEntry(id_, time, tag, workload, severity, message, trace_id, decode_body(body), rowid)
        for id_, time, tag, workload, severity, message, trace_id, body, rowid in rows[:limit]
    ]


def count(connection: sqlite3.Connection, query: Filter) -> int:
    """All that match."""
    query = _without_idle_bounds(connection, query)
    if query.matches() or query.trace_id is not None or query.after_rowid is not None:
        return _count_each(connection, query)
    first, end = log_counts.whole_minutes(query.since, query.until)
    if first is not None and end is not None and first >= end:
        return _count_each(connection, query)
    # Whole minutes are counted already; what is left are the parts of minutes at both ends.
    found = log_counts.total(connection, (first, end), query.tag, query.workload, query.severity)
    if first is not None:
        found += _count_each(connection, replace(query, until=float(first * log_counts.MINUTE_S)))
    if end is not None:
        found += _count_each(connection, replace(query, since=float(end * log_counts.MINUTE_S)))
    return found


def _without_idle_bounds(connection: sqlite3.Connection, query: Filter) -> Filter:
    """The same without bounds that no record is beyond: those would be asked of each."""
    found = log_counts.times(connection)
    if found is None:
        return query
    oldest, newest = found
    return replace(
        query,
        since=None if query.since is not None and query.since <= oldest else query.since,
        until=None if query.until is not None and query.until >= newest else query.until,
    )


def _count_each(connection: sqlite3.Connection, query: Filter) -> int:
    conditions, values = query.conditions()
    matches = query.matches()
    if not matches:
        found = connection.execute(f"SELECT count(*) FROM logs AS l WHERE {conditions}", values).fetchone()  # noqa: S608
        return int(found[0])
    if not values:
        source, where = "logs_text AS t", "TRUE"
    elif query.is_range():
        # The + keeps the text's matches on the outside: each is looked up among the records, and not the other way.
        source = "logs_text AS t"
        where = f"+t.rowid IN (SELECT l.rowid FROM logs AS l WHERE {conditions})"  # noqa: S608
    else:
        source, where = "logs_text AS t CROSS JOIN logs AS l ON l.rowid = t.rowid", conditions
    statement = f"SELECT count(*) FROM {source} WHERE logs_text MATCH :match AND {where}"  # noqa: S608
    rows = first_valid(connection, statement, values, matches)
    return int(rows[0][0]) if rows else 0


def first_valid(
    connection: sqlite3.Connection, statement: str, values: dict[str, object], matches: list[str]
) -> list[tuple[Any, ...]]:
    """Run with the first of `matches` that is a valid FTS5 query."""
    for match in matches:
        if not match:
            continue
        try:
            return connection.execute(statement, {**values, "match": match}).fetchall()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                raise
    return []
