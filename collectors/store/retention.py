"""What leaves the store: what is too old, and the oldest when the file is too large. Small steps, one transaction each,
so that records keep coming in between; the space goes back to the file system by incremental vacuum."""

import sqlite3

from collectors.store import log_counts, log_keys

STEP_ROWS = 2_000
"""Rows deleted per transaction and table: some 20 ms of work."""

_VACUUM_PAGES = 4_000


def size_bytes(connection: sqlite3.Connection) -> int:
    """Bytes in use, without pages that are free."""
    pages, free, page_size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_size)


def delete_older(connection: sqlite3.Connection, cutoff: float) -> int:
    """Delete up to a step of each kind of what is older than `cutoff`, seconds since the epoch, in the caller's
    transaction. Returns the number of rows deleted; 0 when there is nothing left to do."""
    deleted = _delete_logs(connection, cutoff)
    deleted += _delete_spans(connection, cutoff)
    deleted += connection.execute(
        "DELETE FROM traces WHERE trace_id IN (SELECT trace_id FROM traces WHERE start < ? AND finish < ? LIMIT ?)",
        (cutoff, cutoff, STEP_ROWS),
    ).rowcount
    deleted += connection.execute(
        "DELETE FROM error_minutes WHERE minute IN (SELECT minute FROM error_minutes WHERE minute < ? LIMIT ?)",
        (int(cutoff // 60), STEP_ROWS),
    ).rowcount
    return deleted + _delete_samples(connection, cutoff)


def oldest_step(connection: sqlite3.Connection) -> float | None:
    """The time before which a step's worth of the oldest rows lies: what to pass to `delete_older` to get smaller.
    None for an empty store."""
    times = [
        connection.execute(statement, (STEP_ROWS // 2,)).fetchone()[0]
        for statement in (
            "SELECT max(time) FROM (SELECT time FROM logs ORDER BY time LIMIT ?)",
            "SELECT max(start) FROM (SELECT start FROM spans ORDER BY start LIMIT ?)",
        )
    ]
    # The earliest of them, so that what is older goes first whatever its kind.
    found = [time for time in times if time is not None]
    if found:
        return float(min(found)) + 0.001
    first, last = connection.execute("SELECT min(time_ms), max(time_ms) FROM samples").fetchone()
    if first is None:
        return None
    return float(first + max(1_000, (last - first) // 10)) / 1000


def _delete_logs(connection: sqlite3.Connection, cutoff: float) -> int:
    chosen = (cutoff, STEP_ROWS)
    leaving = connection.execute(
        "SELECT time, tag, workload, severity, rowid FROM logs WHERE time < ? ORDER BY time, rowid LIMIT ?", chosen
    ).fetchall()
    counts = log_counts.counted(row[:4] for row in leaving)
    log_counts.subtract(connection, counts)
    log_keys.subtract(connection, [row[4] for row in leaving], counts)
    connection.execute(
        "INSERT INTO logs_text (logs_text, rowid, message, trace_id, workload, severity) "
        "SELECT 'delete', rowid, message, trace_id, workload, severity FROM logs "
        "WHERE rowid IN (SELECT rowid FROM logs WHERE time < ? ORDER BY time, rowid LIMIT ?)",
        chosen,
    )
    return connection.execute(
        "DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE time < ? ORDER BY time, rowid LIMIT ?)", chosen
    ).rowcount


def _delete_spans(connection: sqlite3.Connection, cutoff: float) -> int:
    chosen = (cutoff, STEP_ROWS)
    connection.execute(
        "INSERT INTO spans_text (spans_text, rowid, name, service, values_text) "
        "SELECT 'delete', rowid, name, service, values_text FROM spans "
        "WHERE rowid IN (SELECT rowid FROM spans WHERE start < ? ORDER BY start, rowid LIMIT ?)",
        chosen,
    )
    return connection.execute(
        "DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans WHERE start < ? ORDER BY start, rowid LIMIT ?)",
        chosen,
    ).rowcount


def _delete_samples(connection: sqlite3.Connection, cutoff: float) -> int:
    deleted = 0
    cutoff_ms = int(cutoff * 1000)
    for (series_id,) in connection.execute("SELECT id FROM series").fetchall():
        deleted += connection.execute(
            "DELETE FROM samples WHERE series_id = ? AND time_ms < ?", (series_id, cutoff_ms)
        ).rowcount
        connection.execute("DELETE FROM exemplars WHERE series_id = ? AND time_ms < ?", (series_id, cutoff_ms))
        if deleted >= STEP_ROWS:
            return deleted
    gone = "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM samples WHERE series_id = series.id)"
    if connection.execute(gone).rowcount:
        connection.execute("DELETE FROM exemplars WHERE series_id NOT IN (SELECT id FROM series)")
    return deleted


def vacuum(connection: sqlite3.Connection) -> None:
    """Give a bounded number of free pages back to the file system; outside a transaction."""
    connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
