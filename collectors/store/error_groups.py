"""Groups of failures, written in the transaction that stores the records which tell of them.

They outlive those records, so that it is known when and in which release something began. That is bounded by number: a
service has so many groups, beyond which its failures are counted as `other errors`; beyond the bound of all together
the group that was quiet for longest leaves.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collectors.failures import Failure
from collectors.failures.failure import fingerprint

_log = logging.getLogger("remora.store")

MAX_GROUPS = 2_000
MAX_GROUPS_OF_SERVICE = 200
OTHER_TITLE = "other errors: this service has too many different ones"
_BLOCK = 64

_UPSERT = (
    "INSERT INTO error_groups (fingerprint, kind, service, workload, title, culprit, first_seen, last_seen, count, "
    "first_release, last_release, trace_id, sample) VALUES {values} "
    "ON CONFLICT (fingerprint) DO UPDATE SET count = count + excluded.count, "
    "first_release = CASE WHEN excluded.first_seen < first_seen AND excluded.first_release <> '' "
    "OR first_release = '' THEN excluded.first_release ELSE first_release END, "
    "first_seen = min(first_seen, excluded.first_seen), "
    "last_release = CASE WHEN excluded.last_seen >= last_seen AND excluded.last_release <> '' "
    "THEN excluded.last_release ELSE last_release END, "
    "trace_id = CASE WHEN excluded.last_seen >= last_seen OR trace_id IS NULL "
    "THEN coalesce(excluded.trace_id, trace_id) ELSE trace_id END, "
    "workload = CASE WHEN excluded.last_seen >= last_seen THEN excluded.workload ELSE workload END, "
    "sample = CASE WHEN excluded.last_seen >= last_seen THEN excluded.sample ELSE sample END, "
    "last_seen = max(last_seen, excluded.last_seen)"
)
_MINUTES = (
    "INSERT INTO error_minutes (fingerprint, minute, count) VALUES {values} "
    "ON CONFLICT (fingerprint, minute) DO UPDATE SET count = count + excluded.count"
)


@dataclass(slots=True)
class _Group:
    """What a transaction adds to one group."""

    first: Failure
    last: Failure
    count: int = 1
    trace_id: str | None = None
    first_release: str = ""
    last_release: str = ""

    @classmethod
    def of(cls, failure: Failure) -> "_Group":
        return cls(
            failure, failure, trace_id=failure.trace_id, first_release=failure.release, last_release=failure.release
        )

    def add(self, failure: Failure) -> None:
        self.count += 1
        if failure.time < self.first.time:
            self.first, self.first_release = failure, failure.release or self.first_release
        if failure.time >= self.last.time:
            self.last, self.last_release = failure, failure.release or self.last_release
            self.trace_id = failure.trace_id or self.trace_id
        self.trace_id = self.trace_id or failure.trace_id
        self.first_release = self.first_release or failure.release

    def row(self, print_: str) -> tuple[object, ...]:
        last = self.last
        return (
            print_, last.kind, last.service, last.workload, last.title, last.culprit, self.first.time, last.time,
            self.count, self.first_release, self.last_release, self.trace_id, last.sample,
        )  # fmt: skip


class ErrorGroups:
    """Adds failures to their groups. Knows how many groups there are by service; `clear` when that may be wrong."""

    def __init__(self, *, max_groups: int = MAX_GROUPS, max_of_service: int = MAX_GROUPS_OF_SERVICE) -> None:
        self._max_groups = max_groups
        self._max_of_service = max_of_service
        self._by_service: dict[str, int] | None = None
        self._counted = 0
        self._merged = 0
        self._full: set[str] = set()
        """Services that were said to be full."""

    def clear(self) -> None:
        """Ask the database again; forget what a transaction that failed had counted."""
        self._by_service = None
        self._counted = self._merged = 0

    def take_counted(self) -> int:
        """Failures added since the last call."""
        counted, self._counted = self._counted, 0
        return counted

    def take_merged(self) -> int:
        """Of these, those that went to `other errors`."""
        merged, self._merged = self._merged, 0
        return merged

    def add(self, connection: sqlite3.Connection, failures: Iterable[Failure], now: float) -> None:
        """Within the caller's transaction. What says that it has yet to happen happens `now`: a clock that is ahead
        must not keep a group in front of all others for ever."""
        failures = [one if 0 <= one.time <= now else one._replace(time=now) for one in failures]
        if not failures:
            return
        by_service = self._services(connection)
        known = _known(connection, {failure.fingerprint for failure in failures})
        groups: dict[str, _Group] = {}
        minutes: dict[tuple[str, int], int] = {}
        for failure in failures:
            if failure.fingerprint not in known:
                failure = self._admitted(failure, by_service, known)
            group = groups.get(failure.fingerprint)
            if group is None:
                groups[failure.fingerprint] = _Group.of(failure)
            else:
                group.add(failure)
            at = failure.fingerprint, int(failure.time // 60)
            minutes[at] = minutes.get(at, 0) + 1
        _write(connection, _UPSERT, [group.row(print_) for print_, group in groups.items()])
        _write(connection, _MINUTES, [(*at, count) for at, count in minutes.items()])
        self._counted += len(failures)
        self._evict(connection, by_service)

    def _admitted(self, failure: Failure, by_service: dict[str, int], known: set[str]) -> Failure:
        """As itself, or as one of its service's others. Notes it as known."""
        service = failure.service
        if by_service.get(service, 0) < self._max_of_service:
            by_service[service] = by_service.get(service, 0) + 1
            known.add(failure.fingerprint)
            return failure
        if service not in self._full:
            self._full = {service} if len(self._full) >= self._max_groups else self._full | {service}
            _log.warning("%s has %d groups of errors: more are counted as others", service, self._max_of_service)
        self._merged += 1
        other = fingerprint("other", service)
        return failure._replace(fingerprint=other, kind="message", title=OTHER_TITLE, culprit=failure.title)

    def _services(self, connection: sqlite3.Connection) -> dict[str, int]:
        if self._by_service is None:
            rows = connection.execute("SELECT service, count(*) FROM error_groups GROUP BY service").fetchall()
            self._by_service = dict(rows)
        return self._by_service

    def _evict(self, connection: sqlite3.Connection, by_service: dict[str, int]) -> None:
        """Those that were quiet for longest, some at a time so that a flood of new ones does not do it for each."""
        over = sum(by_service.values()) - self._max_groups
        if over <= 0:
            return
        leave = over + self._max_groups // 20
        rows = connection.execute(
            "SELECT fingerprint FROM error_groups ORDER BY last_seen, fingerprint LIMIT ?", (leave,)
        ).fetchall()
        for table in ("error_minutes", "error_groups"):
            connection.executemany(f"DELETE FROM {table} WHERE fingerprint = ?", rows)  # noqa: S608
        self._by_service = None
        _log.info("%d groups of errors that were quiet for longest are forgotten", len(rows))


def _known(connection: sqlite3.Connection, prints: Iterable[str]) -> set[str]:
    wanted = list(prints)
    found: set[str] = set()
    for start in range(0, len(wanted), 256):
        block = wanted[start : start + 256]
        marks = ",".join("?" * len(block))
        rows = connection.execute(f"SELECT fingerprint FROM error_groups WHERE fingerprint IN ({marks})", block)  # noqa: S608
        found |= {print_ for (print_,) in rows.fetchall()}
    return found


def _write(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        values = ",".join(["(" + ",".join("?" * len(block[0])) + ")"] * len(block))
        connection.execute(statement.format(values=values), [value for row in block for value in row])
