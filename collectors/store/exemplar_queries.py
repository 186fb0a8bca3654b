"""Exemplars asked for."""

import sqlite3
from collections.abc import Iterable

from collectors.store.answers import ExemplarEntry
from collectors.store.metrics import Catalogue, Known, split

MAX_LIMIT = 1_000


def select(
    connection: sqlite3.Connection,
    catalogue: Catalogue,
    name: str,
    labels: dict[str, str],
    span: tuple[float, float],
    limit: int,
) -> list[ExemplarEntry]:
    """As Reader.exemplars says; `span` is since and until."""
    base, _ = split(name)
    wanted = {key: value for key, value in labels.items() if key != "le"}
    series = [
        one
        for candidate in dict.fromkeys((name, base))
        for one in catalogue.find(connection, candidate)
        if one.bounds is not None and all(one.labels.get(key) == value for key, value in wanted.items())
    ]
    found = [entry for one in series for entry in _of(connection, one, span)]
    found.sort(key=lambda one: one.value, reverse=True)
    return found[: max(0, min(limit, MAX_LIMIT))]


def _of(connection: sqlite3.Connection, series: Known, span: tuple[float, float]) -> Iterable[ExemplarEntry]:
    since, until = (int(time * 1000) for time in span)
    for time_ms, value, trace_id in connection.execute(
        "SELECT time_ms, value, trace_id FROM exemplars WHERE series_id = ? AND time_ms >= ? AND time_ms < ?",
        (series.number, since, until),
    ):
        yield ExemplarEntry(series.name, dict(series.labels), value, time_ms / 1000, trace_id)
