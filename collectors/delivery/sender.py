"""Takes batches from a buffer and sees each through to its end: stored by the back end, or in the dead-letter file.

What is sent at once: `parallel` requests, each with batches that follow each other. Of an ordered sink it is one, and
what must be sent again goes before what is newer.
"""

import asyncio
import logging
import random
from typing import Protocol, runtime_checkable

from collectors.delivery.backoff import Backoff
from collectors.delivery.buffer import Buffer
from collectors.delivery.dead_letters import DeadLetters
from collectors.delivery.frames import halves
from collectors.delivery.stats import DeliveryStats, count_batch
from collectors.exporters.sink import Failed, Outcome, Refusal, Sink, TooLarge, Unavailable
from collectors.records import Batch, LogRecord, SpanRecord
from collectors.settings.buffers import BufferSettings
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.delivery")

FAULTS_BEFORE_HALVING = 3
"""A sink or a back end that fails in a way of its own on the same batch so often has a record in it that it cannot
cope with: halves find it, and it goes to the dead letters, so that the others pass."""
CLOSE_S = 2.0
"""What is under way when the collector ends has as long to be answered; then it is sent again after the next start."""


@runtime_checkable
class Prepares(Protocol):
    """A sink that has something to do before the first batch."""

    async def prepare(self) -> None:
        """Raises Unavailable to be called again after a while."""


class Sender:
    """One exporter's."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        buffer: Buffer,
        letters: DeadLetters,
        settings: BufferSettings,
        stats: DeliveryStats,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._sink = sink
        self._buffer = buffer
        self._letters = letters
        self._settings = settings
        self._stats = stats
        self._clock = clock
        self._backoff = Backoff(settings.retry_min, settings.retry_max, rng)
        self._not_before = 0.0
        """In the clock's monotonic time."""
        self._scope = TaskScope()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, parallel: int) -> None:
        """Begin sending."""
        self._scope.spawn(self._run(parallel), name=f"delivery {self._name}")

    async def wait_failed(self) -> None:
        """Raises what ended it: a mistake of ours."""
        await self._scope.wait_failed()

    async def close(self) -> None:
        """Take no more, let what is under way be answered for a moment."""
        self._closing = True
        try:
            if not self._stats.failing_since:
                async with asyncio.timeout(CLOSE_S):
                    await self._idle.wait()
        except TimeoutError:
            _log.warning(
                "%s: %d requests were not answered in time: sent again later", self._name, self._stats.in_flight
            )
        await self._scope.close()

    async def _run(self, parallel: int) -> None:
        sink: object = self._sink
        if isinstance(sink, Prepares):
            await self._prepare(sink)
        for number in range(parallel):
            self._scope.spawn(self._work(), name=f"delivery {self._name} {number}")

    async def _prepare(self, sink: Prepares) -> None:
        while True:
            try:
                await sink.prepare()
            except Unavailable as error:
                self._failed(str(error), error.retry_after_s)
            except Exception as error:
                _log.exception("%s cannot be prepared", self._name)
                self._failed(f"{type(error).__name__}: {error}", None)
            else:
                self._succeeded()
                return
            await self._pause()

    async def _work(self) -> None:
        while not self._closing:
            ticket = await self._buffer.take()
            self._stats.in_flight += 1
            self._idle.clear()
            try:
                await self._see_through(ticket.batch)
                self._buffer.finish(ticket)
            finally:
                self._stats.in_flight -= 1
                if not self._stats.in_flight:
                    self._idle.set()

    async def _see_through(self, batch: Batch) -> None:
        """Return when each of its records is stored or a dead letter."""
        parts = self._cut(batch)
        faults = 0
        while parts:
            part = parts.pop()
            await self._pause()
            try:
                outcome = await self._sink.send(part)
            except Unavailable as error:
                self._stats.requests["unavailable"] += 1
                count_batch(self._stats.again, part)
                self._failed(str(error), error.retry_after_s)
                parts.append(part)
            except TooLarge as error:
                self._stats.requests["too_large"] += 1
                parts += await self._halve(part, f"too large: {error}")
            except Exception as error:
                why = str(error)
                if not isinstance(error, Failed):
                    _log.exception("%s failed", self._name)
                    why = f"{type(error).__name__}: {error}"
                self._stats.requests["failed"] += 1
                count_batch(self._stats.again, part)
                self._failed(why, None)
                faults += 1
                parts += await self._halve(part, why) if faults % FAULTS_BEFORE_HALVING == 0 else [part]
            else:
                faults = 0
                if again := await self._settle(part, outcome):
                    parts.append(again)

    def _cut(self, batch: Batch) -> list[Batch]:
        """In parts of the most that one request has, the first one last: settings may be others than when it was
        buffered."""
        parts, waiting = [], [batch]
        while waiting:
            part = waiting.pop()
            if len(part) > self._settings.batch_records:
                waiting += reversed(halves(part))
            else:
                parts.append(part)
        return parts[::-1]

    async def _settle(self, part: Batch, outcome: Outcome) -> Batch | None:
        """Count an answer; returns what has to be sent again."""
        stats, again = self._stats, outcome.again
        if outcome.refused:
            await self._refuse(outcome.refused)
        count_batch(stats.sent, part)
        count_batch(stats.sent, again, -1)
        for refusal in outcome.refused:
            stats.sent[_signal(refusal)] -= 1
        if not len(again):
            stats.requests["ok"] += 1
            self._succeeded()
            return None
        stats.requests["partial"] += 1
        count_batch(stats.again, again)
        if len(again) < len(part):
            self._backoff.succeeded()  # it makes progress
        self._failed(f"{len(again)} of {len(part)} records have to be sent again", outcome.retry_after_s)
        return again

    async def _halve(self, part: Batch, why: str) -> list[Batch]:
        """The halves, first one last; a single record becomes a dead letter."""
        if len(part) > 1:
            return list(reversed(halves(part)))
        await self._refuse([Refusal(record, why) for record in part.records()])
        return []

    async def _refuse(self, refusals: list[Refusal]) -> None:
        """Write dead letters, however long the disk takes to have room: the records are nowhere else any more."""
        said = False
        while True:
            try:
                await self._buffer.in_thread(lambda: self._letters.write(refusals, self._clock.now()))
                break
            except OSError as error:
                if not said:
                    _log.error("%s: cannot write dead letters, trying until it can be: %s", self._name, error)
                said = True
            await asyncio.sleep(self._buffer.retry_s)
        for refusal in refusals:
            self._stats.refused[_signal(refusal)] += 1
        self._stats.dead_letters_dropped = self._letters.dropped_files
        _log.error("%s refused %d records for good, one since: %s", self._name, len(refusals), refusals[0].why[:200])

    async def _pause(self) -> None:
        while True:
            left = self._not_before - self._clock.monotonic()
            if left <= 0:
                return
            # In steps: another request's success ends the waiting of all.
            await asyncio.sleep(min(left, 1.0))

    def _failed(self, why: str, asked_s: float | None) -> None:
        stats, now = self._stats, self._clock.now()
        wait_s = self._backoff.failed(asked_s)
        self._not_before = max(self._not_before, self._clock.monotonic() + wait_s)
        if why != stats.last_error or not stats.failing_since:
            _log.warning("%s: %s; trying again after %.1f s", self._name, why, wait_s)
        stats.failing_since = stats.failing_since or now
        stats.last_error, stats.last_error_time = why[:500], now

    def _succeeded(self) -> None:
        self._backoff.succeeded()
        self._not_before = 0.0
        if self._stats.failing_since:
            _log.warning(
                "%s takes records again, after %.1f s", self._name, self._clock.now() - self._stats.failing_since
            )
            self._stats.failing_since = 0.0


def _signal(refusal: Refusal) -> str:
    record = refusal.record
    return "logs" if isinstance(record, LogRecord) else "traces" if isinstance(record, SpanRecord) else "metrics"
