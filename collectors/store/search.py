"""Questions about spans rather than traces, as Jaeger's API asks them, as SQL."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from collectors.records import SpanRecord
from collectors.store.traces import SELECT_RECORDS, to_record

MAX_OPERATION_SPANS = 100_000
"""The operations of a service are those of so many of its newest spans."""
MAX_DEPENDENCY_SPANS = 1_000_000
"""Dependencies are counted from so many of the newest spans."""

Accept = Callable[[SpanRecord], bool]


@dataclass(frozen=True, slots=True)
class SpanFilter:
    """Of one span. Times are seconds, both ends included; None: any."""

    service: str
    operation: str | None = None
    since: float = 0.0
    until: float = 0.0
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None


def services(connection: sqlite3.Connection) -> list[str]:
    """Names of services with spans. A step of the index for each of them, however many spans they have."""
    rows = connection.execute(
        "WITH RECURSIVE found (service) AS ("
        "SELECT min(service) FROM spans UNION ALL "
        "SELECT (SELECT min(service) FROM spans WHERE service > found.service) FROM found WHERE found.service NOTNULL"
        ") SELECT service FROM found WHERE service NOTNULL"
    )
    return [name for (name,) in rows]


def operations(connection: sqlite3.Connection, service: str) -> list[tuple[str, str]]:
    """Names and kinds, by name."""
    return connection.execute(
        "SELECT DISTINCT name, kind FROM (SELECT name, kind FROM spans INDEXED BY spans_by_service "
        "WHERE service = ? ORDER BY start DESC LIMIT ?) ORDER BY name, kind",
        (service, MAX_OPERATION_SPANS),
    ).fetchall()


def trace_ids(connection: sqlite3.Connection, query: SpanFilter, accept: Accept | None, limit: int) -> list[str]:
    """Of traces with a span that the query and `accept` take, the newest such span first."""
    parts = ["service = :service", "start >= :since", "start <= :until"]
    values: dict[str, object] = {"service": query.service, "since": query.since, "until": query.until}
    for name, column, relation in (
        ("operation", "name", "="),
        ("min_duration_ms", "duration_ms", ">="),
        ("max_duration_ms", "duration_ms", "<="),
    ):
        value = getattr(query, name)
        if value is not None:
            parts.append(f"{column} {relation} :{name}")
            values[name] = value
    source = f"FROM spans INDEXED BY spans_by_service WHERE {' AND '.join(parts)} ORDER BY start DESC"
    found: dict[str, None] = {}
    if accept is None:
        rows = ((trace_id, True) for (trace_id,) in connection.execute(f"SELECT trace_id {source}", values))
    else:
        records = (to_record(row) for row in connection.execute(f"{SELECT_RECORDS} {source}", values))
        rows = ((record.trace_id, record.trace_id not in found and accept(record)) for record in records)
    for trace_id, taken in rows:
        if taken:
            found[trace_id] = None
            if len(found) >= limit:
                break
    return list(found)


def dependencies(connection: sqlite3.Connection, since: float, until: float) -> list[tuple[str, str, int]]:
    """Caller, called and how often: spans whose parent is of another service, that began in `since` <= t < `until`."""
    return connection.execute(
        "SELECT parent.service, child.service, count(*) FROM ("
        "SELECT trace_id, parent_id, service FROM spans WHERE start >= ? AND start < ? AND parent_id NOTNULL "
        "ORDER BY start DESC LIMIT ?) AS child JOIN spans AS parent "
        "ON parent.trace_id = child.trace_id AND parent.span_id = child.parent_id "
        "WHERE parent.service != child.service GROUP BY 1, 2 ORDER BY 1, 2",
        (since, until, MAX_DEPENDENCY_SPANS),
    ).fetchall()
