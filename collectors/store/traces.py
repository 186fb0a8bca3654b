"""Trace questions as SQL."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collectors.records import SpanRecord
from collectors.store import trace_ids
from collectors.store.answers import SpanEntry, TraceSummary
from collectors.store.fulltext import attempts
from collectors.store.rows import decode_map
from collectors.store.span_detail import unpack_detail

MAX_LIMIT = 1_000
MAX_SPANS = 10_000
SELECT_RECORDS = (
    "SELECT trace_id, span_id, parent_id, service, workload, name, kind, start, duration_ms, error, attributes, detail"
)
_MAX_TEXT_SPANS = 20_000
"""A text search looks at this many of the newest spans that match."""


@dataclass(frozen=True, slots=True)
class Filter:
    """All of it must hold; None and empty hold for everything."""

    service: str | None = None
    since: float | None = None
    until: float | None = None
    min_duration_ms: float = 0
    errors_only: bool = False
    text: str = ""

    def conditions(self) -> tuple[str, dict[str, object]]:
        """SQL over `traces AS t`, and its parameters."""
        parts, values = ["TRUE"], dict[str, object]()
        if self.since is not None:
            parts.append("t.start >= :since")
            values["since"] = self.since
        if self.until is not None:
            parts.append("t.start < :until")
            values["until"] = self.until
        if self.min_duration_ms > 0:
            parts.append("(t.finish - t.start) * 1000 >= :duration_ms")
            values["duration_ms"] = self.min_duration_ms
        if self.errors_only:
            parts.append("t.error = 1")
        return " AND ".join(parts), values


_Found = tuple[str, float, float, int, int, str | None]
_COLUMNS = "t.trace_id, t.start, t.finish, t.spans, t.error, t.root"


def select(connection: sqlite3.Connection, query: Filter, limit: int) -> list[TraceSummary]:
    """Newest first."""
    limit = max(0, min(limit, MAX_LIMIT))
    conditions, values = query.conditions()
    if query.text.strip():
        found = _by_text(connection, query, conditions, values)
    elif query.service is not None:
        # Walked along the service's spans, newest first: finds frequent and rare services at once.
        statement = (
            f"SELECT {_COLUMNS} FROM spans AS s INDEXED BY spans_by_service "  # noqa: S608
            "CROSS JOIN traces AS t ON t.trace_id = s.trace_id "
            f"WHERE s.service = :service AND {conditions} ORDER BY s.start DESC"
        )
        found = _distinct(connection.execute(statement, {**values, "service": query.service}), limit)
    else:
        statement = f"SELECT {_COLUMNS} FROM traces AS t WHERE {conditions} ORDER BY t.start DESC LIMIT :limit"  # noqa: S608
        found = connection.execute(statement, {**values, "limit": limit}).fetchall()
    found.sort(key=lambda row: row[1], reverse=True)
    return [_summary(connection, row) for row in found[:limit]]


def _distinct(rows: Iterable[_Found], limit: int) -> list[_Found]:
    found: dict[str, _Found] = {}
    for row in rows:
        if len(found) >= limit:
            break
        found.setdefault(row[0], row)
    return list(found.values())


def _by_text(connection: sqlite3.Connection, query: Filter, conditions: str, values: dict[str, object]) -> list[_Found]:
    text = query.text.strip().lower()
    exact = connection.execute(
        f"SELECT {_COLUMNS} FROM traces AS t WHERE t.trace_id = :text AND {conditions}",  # noqa: S608
        {**values, "text": text},
    ).fetchall()
    if exact:
        return exact
    if found := trace_ids.beginnings(text):
        where, more = trace_ids.condition("t.trace_id", found)
        begun = connection.execute(
            f"SELECT {_COLUMNS} FROM traces AS t WHERE {where} AND {conditions} ORDER BY t.trace_id LIMIT :most",  # noqa: S608
            {**values, **more, "most": MAX_LIMIT},
        ).fetchall()
        if begun:
            return begun
    service = "" if query.service is None else "AND s.service = :service"
    statement = (
        f"SELECT DISTINCT {_COLUMNS} FROM (SELECT rowid FROM spans_text WHERE spans_text MATCH :match "  # noqa: S608
        "ORDER BY rowid DESC LIMIT :spans) AS m JOIN spans AS s ON s.rowid = m.rowid "
        f"JOIN traces AS t ON t.trace_id = s.trace_id WHERE {conditions} {service}"
    )
    for match in attempts(query.text):
        try:
            return connection.execute(
                statement, {**values, "match": match, "spans": _MAX_TEXT_SPANS, "service": query.service}
            ).fetchall()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                raise
    return []


def _summary(connection: sqlite3.Connection, row: _Found) -> TraceSummary:
    trace_id, start, finish, count, error, root = row
    services = tuple(
        name
        for (name,) in connection.execute(
            "SELECT service FROM spans WHERE trace_id = ? GROUP BY service ORDER BY min(start)", (trace_id,)
        )
    )
    if root is None:
        # No root came, or not yet: the first span speaks for the trace.
        first = connection.execute(
            "SELECT service, name FROM spans WHERE trace_id = ? ORDER BY start LIMIT 1", (trace_id,)
        ).fetchone()
        service, name = first or ("", "")
    else:
        service, _, name = root.partition("\x1f")
    path = _path(connection, trace_id, service, name)
    return TraceSummary(trace_id, service, name, start, (finish - start) * 1000, count, services, bool(error), path)


def _path(connection: sqlite3.Connection, trace_id: str, service: str, name: str) -> str:
    found = connection.execute(
        "SELECT attributes FROM spans WHERE trace_id = ? AND service = ? AND name = ? ORDER BY start LIMIT 1",
        (trace_id, service, name),
    ).fetchone()
    path = decode_map(found[0]).get("url.path") if found else None
    return path if isinstance(path, str) else ""


def spans(connection: sqlite3.Connection, trace_id: str) -> list[SpanEntry]:
    """By start; a parent before a child that began at the same time where the rows allow to tell."""
    return [_entry(record) for record in records(connection, trace_id)]


def records(connection: sqlite3.Connection, trace_id: str) -> list[SpanRecord]:
    """The same spans, as they came."""
    rows = connection.execute(
        f"{SELECT_RECORDS} FROM spans WHERE trace_id = ? ORDER BY start, duration_ms DESC LIMIT ?",
        (trace_id.lower(), MAX_SPANS),
    )
    return [to_record(row) for row in rows]


def to_record(row: tuple[Any, ...]) -> SpanRecord:
    """Of a row of SELECT_RECORDS."""
    *plain, error, attributes, detail = row
    fields = zip(SpanRecord._fields, plain, strict=False)
    return SpanRecord(**dict(fields), error=bool(error), attributes=decode_map(attributes), **unpack_detail(detail))


def _entry(record: SpanRecord) -> SpanEntry:
    return SpanEntry(
        *record[:11],
        resource=record.resource,
        status_message=record.status_message,
        events=list(record.events),
        links=list(record.links),
    )
