"""A log on disk as the event loop sees it: `put` returns when a batch is durable, `take` gives what is to be sent,
`finish` says that it was.

One thread does all that touches the disk, in rounds: each writes all that waits with one fsync. What was just written
stays decoded in memory as long as the sender keeps up, and is read back from disk where it does not.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from collectors.delivery.errors import Unencodable
from collectors.delivery.frames import Counts, Encoder, Frame
from collectors.delivery.log import Log
from collectors.delivery.position import Position
from collectors.delivery.rounds import Held, Round, Waiting, perform
from collectors.delivery.stats import DeliveryStats, count_batch, count_dropped
from collectors.pipeline import Refused
from collectors.records import Batch
from collectors.settings.buffers import BufferSettings
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.buffer")

FRAME_BYTES = 1 << 20
"""Larger batches are split, so that reading back needs little memory."""
ROUND_BYTES = 4 << 20
"""Written at once."""
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Ticket:
    """What the sender has in hand."""

    batch: Batch
    end: Position
    time: float
    """When its first record was buffered."""
    done: bool = False


class Buffer:
    """One exporter's."""

    def __init__(self, log: Log, settings: BufferSettings, clock: Clock, stats: DeliveryStats) -> None:
        self._disk = log
        self._settings = settings
        self._clock = clock
        self._stats = stats
        stats.disk = log.stats
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer")
        self._encoder = Encoder()
        self._scope = TaskScope()
        self._work = asyncio.Event()
        self._available = asyncio.Event()
        self._taking = asyncio.Lock()
        self._waiting: deque[Waiting] = deque()
        self._memory: deque[Held] = deque()
        self._memory_bytes = 0
        self._behind = not log.exhausted
        """Whether there is more on disk than in memory."""
        self._want_read = False
        self._read_errors = 0
        self._read_after = 0.0
        self._passed: list[tuple[Position, Counts]] = []
        self._open: deque[Ticket] = deque()
        self._low: Position | None = None
        self._blocked_until = 0.0
        self._unsynced_since = 0.0
        self._oldest_unread = log.first_unread_time()
        self._closed = False
        self._serving: asyncio.Task[None] | None = None
        self._note_oldest()

    def start(self) -> None:
        """Begin writing."""
        self._serving = self._scope.spawn(self._serve(), name=f"buffer {self._disk.directory.name}")

    async def wait_failed(self) -> None:
        """Return never, raise what ended its writing: a mistake of ours."""
        await self._scope.wait_failed()

    async def put(self, batch: Batch) -> None:
        """Return when the batch is on disk, as the fsync policy says. Raises pipeline.Refused."""
        settings = self._settings
        frame_bytes = min(FRAME_BYTES, settings.batch_bytes, max(settings.max_bytes // 4, 1))
        try:
            frames = self._encoder.frames(
                batch, self._clock.now(), max_records=settings.batch_records, max_bytes=frame_bytes
            )
        except Unencodable as error:
            raise Refused(str(error), retry=False) from error
        for frame in frames:
            if not self._disk.can_ever_hold(frame.size):
                raise Refused(f"a record of {frame.size} bytes is larger than the whole buffer", retry=False)
        if self._closed:
            raise Refused("the buffer is closed", retry=True)
        waiting = Waiting(deque(frames), batch, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._work.set()
        try:
            await waiting.written
        except asyncio.CancelledError:
            # Whoever waited is told nothing, and sends again; memory is not kept for it.
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    async def take(self) -> Ticket:
        """The next batch to send, oldest first; waits for one."""
        async with self._taking:
            deadline: float | None = None
            while True:
                if self._memory and (deadline := self._lingers(deadline)) is None:
                    return self._ticket()
                if self._behind and not self._memory and not self._want_read:
                    self._want_read = True
                    self._work.set()
                self._available.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._available.wait()
                except TimeoutError:
                    if self._memory:
                        return self._ticket()

    def _lingers(self, deadline: float | None) -> float | None:
        """Until when to wait for a fuller batch, in the loop's time; None: not at all."""
        settings = self._settings
        if not settings.linger or self._behind or self._memory_bytes >= settings.batch_bytes:
            return None
        if sum(held.counts.total for held in self._memory) >= settings.batch_records:
            return None
        return deadline or asyncio.get_running_loop().time() + settings.linger

    def _ticket(self) -> Ticket:
        settings = self._settings
        first = self._memory[0]
        batch, records, size, end = Batch(), 0, 0, first.end
        while self._memory:
            held = self._memory[0]
            if records and (
                records + held.counts.total > settings.batch_records or size + held.size > settings.batch_bytes
            ):
                break
            self._memory.popleft()
            self._memory_bytes -= held.size
            records, size, end = records + held.counts.total, size + held.size, held.end
            batch.logs += held.batch.logs
            batch.spans += held.batch.spans
            batch.samples += held.batch.samples
            if not held.passed:
                self._passed.append((held.end, held.counts))
        batch.size_bytes = size
        ticket = Ticket(batch, end, first.time)
        self._open.append(ticket)
        self._stats.memory_bytes = self._memory_bytes
        return ticket

    def finish(self, ticket: Ticket) -> None:
        """Everything of the ticket is with the back end, or in the dead-letter file."""
        ticket.done = True
        while self._open and self._open[0].done:
            self._low = self._open.popleft().end
        self._note_oldest()
        if self._low is not None:
            self._work.set()

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        """Do something else with this disk, between two rounds."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Write what waits, if the disk takes it at once, and close. Raises OSError."""
        self._closed = True
        self._work.set()
        if self._serving is not None:
            await asyncio.wait((self._serving,))
        for waiting in self._waiting:
            if not waiting.written.done():
                waiting.written.set_exception(Refused("the buffer is closed", retry=True))
        self._waiting.clear()
        await self._scope.close()
        try:
            await self.in_thread(self._disk.close)
        finally:
            self._thread.shutdown()

    @property
    def retry_s(self) -> float:
        """See Disk.retry_s."""
        return self._disk.retry_s

    # Rounds.

    async def _serve(self) -> None:
        while not self._closed:
            try:
                async with asyncio.timeout(self._patience()):
                    await self._work.wait()
            except TimeoutError:
                pass
            self._work.clear()
            await self._round()

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told."""
        settings, now = self._settings, self._clock.monotonic()
        due = [self._disk.retry_s] if settings.max_age is not None else []
        if self._read_errors:
            due.append(self._read_after - now)
        if self._blocked_until:
            due.append(self._blocked_until - now)
        if self._unsynced_since and settings.fsync:
            due.append(self._unsynced_since + settings.fsync - now)
        return max(0.0, min(due)) if due else None

    async def _round(self) -> None:
        now = self._clock.monotonic()
        owners, frames = self._next_frames(now)
        interval = self._settings.fsync
        sync = bool(self._unsynced_since and interval and now - self._unsynced_since >= interval)
        read = self._want_read and now >= self._read_after
        work = Round(self._clock.now(), frames, owners, self._low, self._passed, read, self._read_errors, sync)
        self._low, self._passed = None, []
        await self.in_thread(lambda: perform(work, self._disk, self._settings))
        self._apply(work, now)

    def _next_frames(self, now: float) -> tuple[list[Waiting], list[Frame]]:
        """What waits, oldest first, up to a round's bytes; nothing while the disk is known to take nothing."""
        owners: list[Waiting] = []
        frames: list[Frame] = []
        if now < self._blocked_until and self._low is None:
            return owners, frames
        size = 0
        for waiting in self._waiting:
            for frame in waiting.frames:
                size += frame.size
                if frames and size > ROUND_BYTES:
                    return owners, frames
                owners.append(waiting)
                frames.append(frame)
        return owners, frames

    # Back on the event loop.

    def _apply(self, work: Round, began: float) -> None:
        stats = self._stats
        now = self._clock.monotonic()
        if work.ends:
            stats.syncs += 1
            stats.sync_s += now - began
            if self._settings.fsync != 0.0 and not self._unsynced_since:
                self._unsynced_since = now
        if work.sync and work.write_error is None:
            self._unsynced_since = 0.0
        for lost, reason in work.dropped:
            count_dropped(stats, lost, reason)
            _log.warning("%s: gave up %d records (%s)", self._disk.directory, lost.total, reason)
        if work.dropped_before is not None:
            self._evict(work.dropped_before)
        self._written(work)
        self._stall(work, now)
        if work.read:
            self._took(work, now)
        self._oldest_unread = work.oldest_unread
        self._note_oldest()
        stats.memory_bytes = self._memory_bytes
        if self._memory or (self._behind and not self._want_read):
            self._available.set()
        if self._waiting and not self._blocked_until:
            self._work.set()

    def _took(self, work: Round, now: float) -> None:
        """Keep what was read back."""
        self._memory.extend(work.found)
        self._memory_bytes += sum(held.size for held in work.found)
        if work.exhausted and work.read_error is None:
            self._behind = False
        self._want_read = work.read_error is not None and not work.found
        self._read_errors = self._read_errors + 1 if work.read_error is not None else 0
        if work.read_error is not None:
            self._read_after = now + self._disk.retry_s
            _log.error("%s: cannot read back: %s", self._disk.directory, work.read_error)

    def _written(self, work: Round) -> None:
        keep = self._settings.memory_bytes
        for owner, frame, end in zip(work.owners, work.frames, work.ends, strict=False):
            owner.frames.popleft()
            if not self._behind and keep and (not self._memory or self._memory_bytes + frame.size <= keep):
                header = frame.header
                self._memory.append(Held(end, header.counts, frame.size, header.time, frame.batch, False))
                self._memory_bytes += frame.size
            else:
                self._behind = True
        while self._waiting and not self._waiting[0].frames:
            done = self._waiting.popleft()
            count_batch(self._stats.buffered, done.batch)
            if not done.written.done():
                done.written.set_result(None)
        self._stats.waiting = len(self._waiting)

    def _stall(self, work: Round, now: float) -> None:
        why = ""
        if work.write_error is not None:
            why = f"cannot write to {self._disk.directory}: {work.write_error.strerror or work.write_error}"
        elif work.full:
            why = f"the buffer {self._disk.directory} is full ({self._disk.stats.bytes} bytes)"
        elif self._waiting and not work.frames:
            return  # not tried
        stats = self._stats
        self._blocked_until = now + self._disk.retry_s if why else 0.0
        if why and not stats.stalled:
            _log.error("%s: nothing is acknowledged until that changes", why)
        elif not why and stats.stalled:
            _log.warning("%s takes records again (was: %s)", self._disk.directory, stats.stalled)
        stats.stalled = why

    def _evict(self, before: Position) -> None:
        kept = [held for held in self._memory if held.passed or held.end.sequence >= before.sequence]
        self._memory = deque(kept)
        self._memory_bytes = sum(held.size for held in kept)

    def _note_oldest(self) -> None:
        if self._open:
            self._stats.oldest_time = self._open[0].time
        elif self._memory:
            self._stats.oldest_time = self._memory[0].time
        else:
            self._stats.oldest_time = self._oldest_unread if self._behind else 0.0
