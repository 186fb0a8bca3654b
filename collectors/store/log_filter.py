"""What is asked of log records, as SQL's conditions and queries of the full-text index."""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, replace

from collectors.store import log_counts, log_keys, trace_ids
from collectors.store.fulltext import attempts

_RARE = 4
"""A value that one of so many records has narrows a walk of the index; others cost more than they spare."""


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

    @property
    def facets(self) -> log_counts.Facets:
        """What records are counted by."""
        return self.tag, self.workload, self.severity

    def _id_beginnings(self) -> tuple[str, ...]:
        return () if self.trace_id is None else trace_ids.beginnings(self.trace_id)

    def matches(self, rare: Collection[str] = ()) -> list[str]:
        """FTS5 queries to try in turn; empty when the index is not needed, [""] when nothing can match. Those of
        workload and severity that are `rare` narrow the walk inside the index."""
        # Words of the other columns find no less than is asked for; the conditions then make it exact.
        begun = self._id_beginnings()
        narrow = [f"trace_id : ({_or_beginnings(begun)})"] if begun else []
        narrow += [
            f"{column} : {quote(value)}"
            for column, value in (
                ("trace_id", None if begun else self.trace_id),
                ("workload", self.workload if "workload" in rare else None),
                ("severity", self.severity if "severity" in rare else None),
            )
            # Letters that FTS5 does not know are no word of its.
            if value is not None and any(char.isalnum() and char.isascii() for char in value)
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


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records there are."""

    total: int
    of_workload: int
    of_kinds: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and what it comes to in a store."""

    query: Filter
    kinds: tuple[int, ...] | None
    """Of tag, workload and severity; None: all there are."""
    counts: Counts
    matches: list[str]
    """FTS5 queries to try in turn; empty when the index is not needed."""
    between: tuple[int, int] | None
    """The least and the greatest rowid in a window of time that has few records; None: it has many, or is none."""

    def _conditions(self, rowid: str) -> tuple[str, dict[str, object]]:
        query = self.query
        where, values = Filter(trace_id=query.trace_id).conditions()
        parts = [where]
        if self.kinds is not None and len(self.kinds) == 1:
            parts.append("k.kind = :kind")
            values["kind"] = self.kinds[0]
        elif self.kinds is not None:
            parts.append("k.kind IN (SELECT value FROM json_each(:kinds))")
            values["kinds"] = json.dumps(self.kinds)
        for name, condition, value in (
            ("since", "k.time >= :since", query.since),
            ("until", "k.time < :until", query.until),
            ("after", f"{rowid} > :after", query.after_rowid),
        ):
            if value is not None:
                parts.append(condition)
                values[name] = value
        if self.between is not None:
            parts.append(f"{rowid} BETWEEN :least AND :greatest")
            values |= {"least": self.between[0], "greatest": self.between[1]}
        return " AND ".join(parts), values

    def is_sparse(self, limit: int) -> bool:
        """Whether the records' indexes by time would be read for longer, until they gave `limit` of the kinds, than all
        keys."""
        counts = self.counts
        read = min(counts.of_workload, limit * counts.of_workload / max(1, counts.of_kinds))
        return self.kinds is not None and self.between is None and read * 2 > counts.total

    def statement(self, what: str, *, by_text: bool) -> tuple[str, dict[str, object]]:
        """SELECT `what` of the text index's matches `t`, or of the keys `k`, and its parameters but for `match`."""
        query = self.query
        rowid = "t.rowid" if by_text else "k.rowid"
        where, values = self._conditions(rowid)
        # CROSS JOIN fixes the order: what is joined is looked up by rowid.
        source = "logs_text AS t" if by_text else "log_keys AS k"
        if by_text and (self.kinds is not None or query.since is not None or query.until is not None):
            source += " CROSS JOIN log_keys AS k ON k.rowid = t.rowid"
        if query.trace_id is not None:
            source += f" CROSS JOIN logs AS l ON l.rowid = {rowid}"
        match = "logs_text MATCH :match AND " if by_text else ""
        return f"SELECT {what} FROM {source} WHERE {match}{where}", values  # noqa: S608


def ask(connection: sqlite3.Connection, query: Filter) -> Asked | None:
    """None: there can be no such record."""
    query = _without_idle_bounds(connection, query)
    found, of_kinds = log_keys.kinds(connection, query.facets)
    total, of_workload, of_severity = (
        log_keys.kinds(connection, facets)[1]
        for facets in ((None, None, None), (None, query.workload, None), (None, None, query.severity))
    )
    if not found:
        return None
    rare = [name for name, having in (("workload", of_workload), ("severity", of_severity)) if having * _RARE < total]
    between = None
    if query.since is not None or query.until is not None:
        between = log_keys.rowids(connection, query.since, query.until, total)
    kinds = tuple(found) if of_kinds < total else None
    return Asked(query, kinds, Counts(total, of_workload, of_kinds), query.matches(rare), between)


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
