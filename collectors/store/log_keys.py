"""What most questions ask of a record, in a few bytes: its time, and its kind, which is tag, workload and severity at
once. Written in the transaction that stores or deletes the record.

A record has about 1 KB, its key a dozen bytes, and the full-text index gives its matches in the keys' order: to look at
those of a million matches takes 40 ms; to look at the records, a second, and several from a disk.
"""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Sequence

from collectors.store.log_counts import Facets, Key

_BLOCK = 64
"""Rows per statement."""
_NARROW = 16
"""A window of time in which one of so many records is, and no more than `_FEW`, is asked for by rowids, too."""
_FEW = 50_000
"""To look for their rowids takes 2 ms."""


def add(connection: sqlite3.Connection, after_rowid: int, counts: Counter[Key]) -> None:
    """The records behind `after_rowid`, of which there are `counts`. Within the caller's transaction."""
    rows = list(_kinds(counts).items())
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        values = ",".join(["(?,?,?,?)"] * len(block))
        connection.execute(
            f"INSERT INTO log_kinds (tag, workload, severity, count) VALUES {values} "  # noqa: S608
            "ON CONFLICT (tag, workload, severity) DO UPDATE SET count = count + excluded.count",
            [value for kind, count in block for value in (*kind, count)],
        )
    connection.execute(
        "INSERT INTO log_keys (rowid, time, kind) SELECT l.rowid, l.time, k.id FROM logs AS l "
        "CROSS JOIN log_kinds AS k ON k.tag = l.tag AND k.workload = l.workload AND k.severity = l.severity "
        "WHERE l.rowid > ?",
        (after_rowid,),
    )


def subtract(connection: sqlite3.Connection, rowids: Sequence[int], counts: Counter[Key]) -> None:
    """Within the caller's transaction. A kind that no record is of any more leaves."""
    # One statement for all of them: collectors.store.statements says why.
    connection.execute("DELETE FROM log_keys WHERE rowid IN (SELECT value FROM json_each(?))", (json.dumps(rowids),))
    rows = [(count, *kind) for kind, count in _kinds(counts).items()]
    where = "WHERE tag = ? AND workload = ? AND severity = ?"
    connection.executemany(f"UPDATE log_kinds SET count = count - ? {where}", rows)  # noqa: S608
    connection.executemany(f"DELETE FROM log_kinds {where} AND count <= 0", [row[1:] for row in rows])  # noqa: S608


def _kinds(counts: Counter[Key]) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for (_, *kind), count in counts.items():
        found[kind[0], kind[1], kind[2]] += count
    return found


def kinds(connection: sqlite3.Connection, facets: Facets) -> tuple[list[int], int]:
    """Numbers of the kinds of a tag, workload and severity, and how many records are of them."""
    rows = connection.execute(
        "SELECT id, count FROM log_kinds WHERE (?1 IS NULL OR tag = ?1) AND (?2 IS NULL OR workload = ?2) "
        "AND (?3 IS NULL OR severity = ?3)",
        facets,
    ).fetchall()
    return [id_ for id_, _ in rows], sum(count for _, count in rows)


def rowids(
    connection: sqlite3.Connection, since: float | None, until: float | None, total: int
) -> tuple[int, int] | None:
    """The least and the greatest of the records of `since` <= time < `until`: (0, -1) for none; None for a large part
    of all records, which are `total`."""
    most = min(_FEW, total // _NARROW)
    least, greatest, found = connection.execute(
        "SELECT coalesce(min(rowid), 0), coalesce(max(rowid), -1), count(*) FROM ("
        "SELECT rowid FROM logs INDEXED BY logs_by_time WHERE time >= ? AND time < ? LIMIT ?)",
        (-math.inf if since is None else since, math.inf if until is None else until, most + 1),
    ).fetchone()
    return (least, greatest) if found <= most else None
