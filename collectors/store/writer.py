"""The store's one writer: a thread that commits many batches in one transaction and then tells each sender.

A batch's future is resolved after the commit is on disk, so what was acknowledged survives kill -9 and power cuts.
While the disk is full the thread keeps its group and tries again: nobody is told, senders wait, and it goes on by
itself.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from collectors.records import Batch
from collectors.store import retention
from collectors.store.error_groups import ErrorGroups
from collectors.store.errors import RejectedBatch, StoreClosed
from collectors.store.files import FileLock, move_aside
from collectors.store.rows import Rows, to_rows
from collectors.store.schema import open_writer
from collectors.store.statements import SeriesNumbers, insert
from mesh.clock import Clock, SystemClock

_log = logging.getLogger("remora.store")

Connect = Callable[[Path], sqlite3.Connection]

_BROKEN_FILE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}
"""Primary result codes after which the same transaction may succeed later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept and how much is done at once."""

    retention_s: float = 24 * 3600
    """Older records leave."""
    max_bytes: int = 1024 * 1024 * 1024
    """Of the database file; beyond it the oldest leave."""
    max_group_records: int = 8_192
    """Per transaction. More are waiting only as long as one commit takes."""
    retention_every_s: float = 30.0
    retry_s: float = 1.0
    """Between attempts while the disk takes nothing."""


@dataclass(slots=True)
class WriterStats:
    """Written by the writer thread (`rejected` by those who submit as well), read by anyone."""

    commits: int = 0
    logs: int = 0
    spans: int = 0
    samples: int = 0
    duplicates: int = 0
    rejected: int = 0
    retained_out: int = 0
    """Rows deleted by retention."""
    quarantined: int = 0
    """Database files moved aside as broken."""
    failures: int = 0
    """Records that told of a failure."""
    failures_merged: int = 0
    """Of these, counted under a service's `other errors` since it has too many different ones."""
    stalled: str = ""
    """Why nothing can be written at present; empty when all is well."""
    size_bytes: int = 0


@dataclass(slots=True)
class _Pending:
    rows: Rows
    future: "Future[None]"


class Store:
    """Open with `Store.open`; `submit` batches from any thread; `close` flushes."""

    def __init__(self, path: Path, limits: Limits, clock: Clock, connect: Connect, lock: FileLock) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._connect = connect
        self._lock = lock
        self._series = SeriesNumbers()
        self._errors = ErrorGroups()
        self._pending: deque[_Pending] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._retention_due = 0.0
        self.stats = WriterStats()
        self._connection = self._open()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        connect: Connect = open_writer,
    ) -> "Store":
        """Open or create the database at `path`. A broken file is moved aside and a new one begun.

        Raises StoreError if another process writes it or a newer program made it, OSError if it cannot be created.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock.take(path)
        try:
            return cls(path, limits or Limits(), clock or SystemClock(), connect, lock)
        except BaseException:
            lock.release()
            raise

    def submit(self, batch: Batch) -> "Future[None]":
        """Queue a batch. The future is done when it is on disk; its errors are RejectedBatch (never send it
        again) and StoreClosed (not stored). The caller bounds what is queued."""
        future: Future[None] = Future()
        # Rows are made at once: here the records are in the processor's cache still, and the writer's thread is left
        # with what needs no interpreter.
        try:
            rows = to_rows(batch)
        except RejectedBatch as error:
            self._reject(future, len(batch), error)
            return future
        with self._changed:
            if self._closing:
                future.set_exception(StoreClosed("the store is closed"))
            else:
                self._pending.append(_Pending(rows, future))
                self._changed.notify()
        return future

    def close(self) -> None:
        """Commit what is queued, if the disk takes it, and close. Blocks for as long as that takes; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._lock.release()

    def _reject(self, future: "Future[None]", records: int, error: Exception) -> None:
        with self._changed:
            self.stats.rejected += records
        _log.error("refused a batch of %d records: %s", records, error)
        future.set_exception(RejectedBatch(str(error)))

    # From here on everything runs on the writer thread.

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect(self._path)
        except sqlite3.DatabaseError as error:
            if _primary_code(error) not in _BROKEN_FILE:
                raise
            self._quarantine(error)
            return self._connect(self._path)

    def _quarantine(self, error: Exception) -> None:
        aside = move_aside(self._path, self._clock.now())
        self.stats.quarantined += 1
        self._series.clear()
        self._errors.clear()
        _log.critical(
            "the store %s is broken (%s): moved to %s, starting an empty one; what it held is not shown any more",
            self._path,
            error,
            aside,
        )

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                if group:
                    self._store_or_fail(group)
                self._retain()
        finally:
            with self._changed:
                self._closing = True
                left, self._pending = self._pending, deque()
            for pending in left:
                pending.future.set_exception(StoreClosed("the store closed before this was written"))
            self._connection.close()

    def _next_group(self) -> list[_Pending] | None:
        """What waits, up to the limit; empty when retention is due; None when closing and all is written."""
        with self._changed:
            while not self._pending:
                if self._closing:
                    return None
                wait_s = self._retention_due - self._clock.monotonic()
                if wait_s <= 0 or not self._changed.wait(wait_s):
                    return []
            group = [self._pending.popleft()]
            records = len(group[0].rows)
            while self._pending and records + len(self._pending[0].rows) <= self._limits.max_group_records:
                records += len(self._pending[0].rows)
                group.append(self._pending.popleft())
        return group

    def _store_or_fail(self, group: list[_Pending]) -> None:
        try:
            self._store(group)
        except Exception:
            # A mistake of ours. Nobody may wait for ever, and the next group may be fine.
            _log.exception("storing a group failed")
            for pending in group:
                if not pending.future.done():
                    pending.future.set_exception(StoreClosed("not stored: internal error"))

    def _store(self, group: list[_Pending]) -> None:
        if not self._commit_patiently(group):
            # One of several is at fault: each alone, so that only the guilty is refused.
            for one in group:
                self._commit_patiently([one])

    def _commit_patiently(self, group: list[_Pending]) -> bool:
        """Commit, however long the disk takes to have room. False if several batches failed for what is in them."""
        while True:
            try:
                self._commit([pending.rows for pending in group])
            except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
                code = _primary_code(error)
                if code in _BROKEN_FILE:
                    self._recover(error)
                elif code not in _PASSING:
                    if len(group) == 1:
                        self._reject(group[0].future, len(group[0].rows), error)
                        return True
                    return False
                if not self._wait_stalled(error):
                    for pending in group:
                        pending.future.set_exception(StoreClosed(f"not stored: {error}"))
                    return True
                continue
            if self.stats.stalled:
                _log.warning("the store takes records again (was: %s)", self.stats.stalled)
                self.stats.stalled = ""
            for pending in group:
                pending.future.set_result(None)
            return True

    def _commit(self, group: list[Rows]) -> None:
        connection = self._connection
        stats = self.stats
        try:
            connection.execute("BEGIN IMMEDIATE")
            logs, spans, samples = insert(connection, group, self._series, self._errors, self._clock.now())
            connection.execute("COMMIT")
        except BaseException:
            self._series.clear()
            self._errors.clear()
            _rollback(connection)
            raise
        stats.commits += 1
        stats.failures += self._errors.take_counted()
        stats.failures_merged += self._errors.take_merged()
        stats.logs += logs
        stats.spans += spans
        stats.samples += samples
        stats.duplicates += sum(len(rows) for rows in group) - logs - spans - samples

    def _recover(self, error: Exception) -> None:
        """Begin a new file after the present one turned out broken; if that fails, the next attempt tries again."""
        self._connection.close()
        self._quarantine(error)
        try:
            self._connection = self._connect(self._path)
        except (sqlite3.Error, OSError) as failure:
            _log.critical("cannot begin a new store at %s: %s", self._path, failure)

    def _wait_stalled(self, error: Exception) -> bool:
        """Wait before the next attempt. False if the store is closing: no use to wait for a disk then."""
        if not self.stats.stalled:
            _log.error("cannot write to the store (%s): nothing is acknowledged until it can be", error)
        self.stats.stalled = str(error)
        with self._changed:
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, self._limits.retry_s)
            return not self._closing

    def _retain(self) -> None:
        """Delete what is too old or too much, for a moment; when over the size limit by a quarter, until it is not:
        then senders wait, and that is what keeps the file bounded."""
        started = self._clock.monotonic()
        if self._closing or started < self._retention_due:
            return
        limits = self._limits
        connection = self._connection
        done = False
        try:
            while not done:
                size = self.stats.size_bytes = retention.size_bytes(connection)
                cutoff: float | None = self._clock.now() - limits.retention_s
                deleted = self._delete_older(cutoff)
                if not deleted and size > limits.max_bytes:
                    cutoff = retention.oldest_step(connection)
                    deleted = self._delete_older(cutoff)
                    done = cutoff is None
                retention.vacuum(connection)
                done = done or not deleted
                if size < limits.max_bytes * 1.25 and self._clock.monotonic() - started > 0.1:
                    break
        except sqlite3.Error as error:
            _rollback(connection)
            _log.error("retention failed, trying again later: %s", error)
            done = True
        # What is left to do is done after the next group, so that records are not held up by old ones.
        self._retention_due = self._clock.monotonic() + (limits.retention_every_s if done else 0.02)

    def _delete_older(self, cutoff: float | None) -> int:
        if cutoff is None:
            return 0
        self._connection.execute("BEGIN IMMEDIATE")
        deleted = retention.delete_older(self._connection, cutoff)
        self._connection.execute("COMMIT")
        if deleted:
            self._series.clear()  # deleted series come back under new numbers
            self._errors.clear()
            self.stats.retained_out += deleted
        return deleted


def _primary_code(error: Exception) -> int:
    """SQLite's primary result code; 0 for an error of Python's binding, e.g. of a text with lone surrogates."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _rollback(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        _log.error("rollback failed: %s", error)
