"""Trace ids by their beginnings: what a person copies from a line or remembers. A beginning is a range of the primary
key of traces, and of the words of the logs' full-text index, so that it costs no more than the whole id."""

import re
import sqlite3

MIN_DIGITS = 8
"""Fewer are words and numbers of all kinds, and the beginning of too many ids."""
_DIGITS = 32
_BEGINNING = re.compile(rf"[0-9a-fA-F]{{{MIN_DIGITS},{_DIGITS - 1}}}")
_ZEROS = "0" * 16
"""In front of ids of 64 bits, which their tracers and Jaeger show without."""


def beginnings(text: str) -> tuple[str, ...]:
    """What an id may begin with that `text` is the beginning of; empty for what is none."""
    if _BEGINNING.fullmatch(text) is None:
        return ()
    lower = text.lower()
    return (lower, _ZEROS + lower) if len(lower) <= len(_ZEROS) else (lower,)


def condition(column: str, found: tuple[str, ...]) -> tuple[str, dict[str, object]]:
    """SQL that is true of ids with one of `found` in front, and its parameters."""
    parts, values = [], dict[str, object]()
    for number, one in enumerate(found):
        parts.append(f"{column} >= :id{number} AND {column} < :id{number}_end")
        values |= {f"id{number}": one, f"id{number}_end": one + "g"}  # behind every digit
    return f"({' OR '.join(parts)})", values


def select(connection: sqlite3.Connection, text: str, limit: int) -> list[str]:
    """Ids of stored traces that begin with `text`, by id; those that are it, alone."""
    whole = text.strip().lower()
    if connection.execute("SELECT 1 FROM traces WHERE trace_id = ?", (whole,)).fetchone() is not None:
        return [whole]
    found = beginnings(whole)
    if not found:
        return []
    where, values = condition("trace_id", found)
    statement = f"SELECT trace_id FROM traces WHERE {where} ORDER BY trace_id LIMIT :limit"  # noqa: S608
    return [trace_id for (trace_id,) in connection.execute(statement, {**values, "limit": limit})]
