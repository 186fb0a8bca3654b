"""The store's questions. Read-only, synchronous, bounded in time; any number of processes at once (WAL)."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from collectors.records import SpanRecord
from collectors.store import (
    error_queries,
    examples,
    exemplar_queries,
    logs,
    metrics,
    search,
    targets,
    topology,
    trace_ids,
    traces,
)
from collectors.store.answers import (
    ErrorGroup,
    Example,
    ExemplarEntry,
    Graph,
    LogEntry,
    Series,
    ServiceSummary,
    SpanEntry,
    TargetSummary,
    TraceSummary,
    WorkloadSummary,
)
from collectors.store.errors import QueryTooSlow, StoreError
from collectors.store.log_filter import Filter as LogFilter
from collectors.store.schema import open_reader
from mesh.clock import Clock, SystemClock

T = TypeVar("T")

_CHECK_EVERY_OPERATIONS = 20_000
"""SQLite virtual-machine operations between looks at the clock: about a millisecond."""


class Reader:
    """Open with `Reader.open`. May be used by several threads; one question at a time."""

    def __init__(self, path: Path, time_limit_s: float, clock: Clock) -> None:
        self._path = path
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._lock = threading.Lock()
        self._deadline = 0.0
        self._catalogue = metrics.Catalogue()
        self._connection, self._inode = self._connect()

    @classmethod
    def open(cls, path: Path, *, time_limit_s: float = 10.0, clock: Clock | None = None) -> "Reader":
        """Raises StoreMissing if nothing was collected at `path` yet, StoreError for what is no store of ours.

        A question that takes longer than `time_limit_s` seconds raises QueryTooSlow.
        """
        return cls(path, time_limit_s, clock or SystemClock())

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._connection.close()

    def logs(
        self,
        *,
        text: str = "",
        workload: str | None = None,
        tag: str | None = None,
        severity: str | None = None,
        trace_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
        after_rowid: int | None = None,
    ) -> list[LogEntry]:
        """Records, newest first. `text` is an FTS5 query over the message; what is none is searched as words, all of
        which must occur; what looks like the beginning of a trace id (8 to 31 hex digits) finds those ids, too, and
        `trace_id` may be one. Times are `since` <= time < `until`. With `after_rowid` the *first* `limit` records that
        arrived after that one: follow with the largest `rowid` seen and none is missed."""
        query = LogFilter(text, workload, tag, severity, trace_id, since, until, after_rowid)
        return self._ask(lambda connection: logs.select(connection, query, limit))

    def count_logs(
        self,
        *,
        text: str = "",
        workload: str | None = None,
        tag: str | None = None,
        severity: str | None = None,
        trace_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after_rowid: int | None = None,
    ) -> int:
        """How many records `logs` would find without its limit."""
        query = LogFilter(text, workload, tag, severity, trace_id, since, until, after_rowid)
        return self._ask(lambda connection: logs.count(connection, query))

    def traces(
        self,
        *,
        service: str | None = None,
        since: float | None = None,
        until: float | None = None,
        min_duration_ms: float = 0,
        errors_only: bool = False,
        text: str = "",
        limit: int = 50,
    ) -> list[TraceSummary]:
        """Traces that began in `since` <= start < `until`, newest first; with a span of `service`; with a span whose
        name, service or attribute values match `text`, or whose id is `text`, or begins with it (8 hex digits at
        least)."""
        query = traces.Filter(service, since, until, min_duration_ms, errors_only, text)
        return self._ask(lambda connection: traces.select(connection, query, limit))

    def trace_ids(self, text: str, limit: int = 10) -> list[str]:
        """Ids of traces that begin with `text`, 8 hex digits at least, by id; the one that is it alone."""
        return self._ask(lambda connection: trace_ids.select(connection, text, limit))

    def trace(self, trace_id: str) -> list[SpanEntry]:
        """The spans of a trace, by start; empty if there is none of that id. At most 10,000."""
        return self._ask(lambda connection: traces.spans(connection, trace_id))

    def span_records(self, trace_id: str) -> list[SpanRecord]:
        """The same spans as they came in, with all that they say."""
        return self._ask(lambda connection: traces.records(connection, trace_id))

    def span_services(self) -> list[str]:
        """Services that have spans, by name."""
        return self._ask(search.services)

    def span_operations(self, service: str) -> list[tuple[str, str]]:
        """Names and kinds of a service's spans."""
        return self._ask(lambda connection: search.operations(connection, service))

    def span_search(
        self, query: search.SpanFilter, accept: search.Accept | None = None, *, limit: int = 100
    ) -> list[str]:
        """Ids of traces with a span that `query` and `accept` take, the newest first."""
        return self._ask(lambda connection: search.trace_ids(connection, query, accept, limit))

    def span_dependencies(self, since: float, until: float) -> list[tuple[str, str, int]]:
        """Which service called which, and how often, by the spans of `since` <= t < `until`."""
        return self._ask(lambda connection: search.dependencies(connection, since, until))

    def errors(
        self,
        *,
        since: float | None = None,
        new_since: float | None = None,
        service: str | None = None,
        kind: str | None = None,
        text: str = "",
        fingerprint: str | None = None,
        limit: int = 100,
    ) -> list[ErrorGroup]:
        """Groups of failures that happened at or after `since`, those that did so most often first; with all words of
        `text` in title, place or service; `new_since`: first seen at or after that."""
        query = error_queries.Filter(since, service, kind, text, new_since, fingerprint)
        return self._ask(lambda connection: error_queries.select(connection, query, limit))

    def error_curve(self, fingerprint: str, since: float, until: float) -> list[tuple[float, int]]:
        """How often a group's failure happened, by minutes of `since` <= t < `until`; silent ones are left out."""
        return self._ask(lambda connection: error_queries.curve(connection, fingerprint, since, until))

    def graph(self, now: float, window_s: float) -> Graph:
        """Who talked to whom in the `window_s` seconds before `now`."""
        return self._ask(lambda connection: topology.graph(connection, self._catalogue, now, window_s))

    def services(self, now: float, window_s: float) -> list[ServiceSummary]:
        """The services that were asked for something or are being watched, by name."""
        return self._ask(lambda connection: topology.services(connection, self._catalogue, now, window_s))

    def workloads(self, now: float, window_s: float) -> list[WorkloadSummary]:
        """The workloads that were asked for something in the `window_s` seconds before `now`, by name."""
        return self._ask(lambda connection: topology.workloads(connection, self._catalogue, now, window_s))

    def targets(self, now: float, window_s: float) -> list[TargetSummary]:
        """The targets that report requests, by name: those whose series go on too when nothing came."""
        return self._ask(lambda connection: targets.targets(connection, self._catalogue, now, window_s))

    def examples(self, since: float, until: float) -> list[Example]:
        """For each service and workload the slowest trace, and the last that failed, of `since` <= start < `until`."""
        return self._ask(lambda connection: examples.select(connection, since, until))

    def series(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[Series]:
        """Series of `name` that have all of `labels`, with their points in `since` <= time < `until`; at most `limit`
        series. A histogram's `_count` and `_sum` are series; `_bucket` has one for each `le`."""
        return self._ask(
            lambda connection: metrics.series(connection, self._catalogue, name, labels or {}, since, until, limit)
        )

    def exemplars(
        self, name: str, labels: dict[str, str] | None = None, *, since: float, until: float, limit: int = 100
    ) -> list[ExemplarEntry]:
        """Requests with traces among those that histograms of `name` (or with a part of it: `NAME_bucket`) with all of
        `labels` counted in `since` <= time < `until`, the largest values first: of each bucket at most three are
        kept."""
        return self._ask(
            lambda connection: exemplar_queries.select(
                connection, self._catalogue, name, labels or {}, (since, until), limit
            )
        )

    def _connect(self) -> tuple[sqlite3.Connection, int]:
        connection = open_reader(self._path)
        connection.set_progress_handler(self._past_deadline, _CHECK_EVERY_OPERATIONS)
        return connection, os.stat(self._path).st_ino

    def _past_deadline(self) -> int:
        return int(self._clock.monotonic() > self._deadline)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            self._follow_file()
            self._deadline = self._clock.monotonic() + self._time_limit_s
            try:
                # One snapshot for all statements of a question.
                self._connection.execute("BEGIN")
                try:
                    return question(self._connection)
                finally:
                    self._connection.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                    raise QueryTooSlow(f"stopped after {self._time_limit_s:g} s: ask for less") from error
                raise StoreError(f"cannot read {self._path}: {error}") from error
            except sqlite3.Error as error:
                raise StoreError(f"cannot read {self._path}: {error}") from error

    def _follow_file(self) -> None:
        """The writer replaces a broken database by a new file of the same name."""
        try:
            inode = os.stat(self._path).st_ino
        except OSError:
            inode = 0
        if inode != self._inode:
            self._connection.close()
            self._catalogue = metrics.Catalogue()
            self._connection, self._inode = self._connect()
