"""Traces that stand for figures: who reads that a service is slow or fails wants one request that was, or did."""

import sqlite3

from collectors.store.answers import Example

MAX_EXAMPLES = 2_000

# Of rows of a group, SQLite takes the other columns from the row that has the maximum.
# https://www.sqlite.org/lang_select.html#bare_columns_in_an_aggregate_query
_SLOWEST = (
    "SELECT service, workload, trace_id, max(duration_ms) FROM spans "
    "WHERE start >= :since AND start < :until AND kind = 'server' GROUP BY service, workload LIMIT :limit"
)
_FAILED = (
    "SELECT service, workload, trace_id, max(start) FROM spans "
    "WHERE start >= :since AND start < :until AND error = 1 GROUP BY service, workload LIMIT :limit"
)


def select(connection: sqlite3.Connection, since: float, until: float) -> list[Example]:
    """By service and workload; those that answered something."""
    values = {"since": since, "until": until, "limit": MAX_EXAMPLES}
    failed = {(service, workload): trace for service, workload, trace, _ in connection.execute(_FAILED, values)}
    return [
        Example(service, workload, trace, duration_ms, failed.get((service, workload)))
        for service, workload, trace, duration_ms in connection.execute(_SLOWEST, values)
    ]
