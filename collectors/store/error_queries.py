"""Questions about groups of errors, as SQL."""

import sqlite3
from dataclasses import dataclass

from collectors.store.answers import ErrorGroup

MAX_LIMIT = 2_000
_COLUMNS = (
    "g.fingerprint, g.kind, g.service, g.workload, g.title, g.culprit, g.first_seen, g.last_seen, g.count, "
    "g.first_release, g.last_release, g.trace_id, g.sample"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """All of it must hold; None and empty hold for everything."""

    since: float | None = None
    service: str | None = None
    kind: str | None = None
    text: str = ""
    new_since: float | None = None
    """First seen at or after this."""
    fingerprint: str | None = None

    def conditions(self) -> tuple[str, dict[str, object]]:
        """SQL over `error_groups AS g`, and its parameters."""
        parts, values = ["TRUE"], dict[str, object]()
        for condition, name, value in (
            ("g.last_seen >= :since", "since", self.since),
            ("g.service = :service", "service", self.service),
            ("g.kind = :kind", "kind", self.kind),
            ("g.first_seen >= :new_since", "new_since", self.new_since),
            ("g.fingerprint = :fingerprint", "fingerprint", self.fingerprint),
        ):
            if value is not None:
                parts.append(condition)
                values[name] = value
        for index, word in enumerate(self.text.split()[:20]):
            parts.append(f"instr(lower(g.title || ' ' || g.culprit || ' ' || g.service), :word{index}) > 0")
            values[f"word{index}"] = word.lower()
        return " AND ".join(parts), values


def select(connection: sqlite3.Connection, query: Filter, limit: int) -> list[ErrorGroup]:
    """Those that happened most often since `query.since` first."""
    conditions, values = query.conditions()
    minute = 0 if query.since is None else int(query.since // 60)
    rows = connection.execute(
        f"SELECT {_COLUMNS}, coalesce((SELECT sum(m.count) FROM error_minutes AS m "  # noqa: S608
        "WHERE m.fingerprint = g.fingerprint AND m.minute >= :minute), 0) AS recent "
        f"FROM error_groups AS g WHERE {conditions} ORDER BY recent DESC, g.last_seen DESC, g.fingerprint LIMIT :limit",
        {**values, "minute": minute, "limit": max(0, min(limit, MAX_LIMIT))},
    ).fetchall()
    return [ErrorGroup(*row) for row in rows]


def curve(connection: sqlite3.Connection, fingerprint: str, since: float, until: float) -> list[tuple[float, int]]:
    """Occurrences by minute, oldest first; minutes without any are left out. Times are the minutes' beginnings."""
    rows = connection.execute(
        "SELECT minute * 60.0, count FROM error_minutes WHERE fingerprint = ? AND minute >= ? AND minute < ? "
        "ORDER BY minute",
        (fingerprint, int(since // 60), until / 60),
    ).fetchall()
    return [(time, count) for time, count in rows]
