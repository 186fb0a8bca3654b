"""Tailing as a receiver: turns of reading and storing, positions saved behind them, back-off while nothing is taken.

At least once: a position is saved after the pipeline has stored what is before it, and what is read again after a crash
has the same ids.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.pipeline import Consumer, Refused
from collectors.receivers.tail.metadata import MetadataFile
from collectors.receivers.tail.records import Origins
from collectors.receivers.tail.tailer import Chunk, Tailer
from collectors.receivers.tail.watch import Watch
from collectors.records import Batch, LogRecord
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.tail")

Result = TypeVar("Result")

_RETRY_MIN_S, _RETRY_MAX_S = 0.1, 10.0
_CLOSE_S = 3.0
_RECORD_BYTES = 512
"""About what a record takes beside its text."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is done, seconds."""

    poll_s: float = 0.25
    """Looking whether files have grown, where nothing says so before."""
    scan_s: float = 1.0
    """Looking which files there are."""
    save_s: float = 0.5
    """Saving positions, at most."""


class TailReceiver:
    """See settings.registry.Receiver."""

    def __init__(
        self,
        tailer: Tailer,
        origins: Origins,
        consumer: Consumer,
        clock: Clock,
        rng: random.Random,
        registry: CollectorRegistry,
        pace: Pace,
        metadata: MetadataFile | None = None,
    ) -> None:
        self._tailer = tailer
        self._origins = origins
        self._consumer = consumer
        self._clock = clock
        self._rng = rng
        self._pace = pace
        self._metadata = metadata
        self._scope = TaskScope()
        self._wake = asyncio.Event()
        self._stopping = False
        self._running: asyncio.Task[None] | None = None
        self._thread: asyncio.Future[Any] | None = None
        self._watch = Watch(tailer.files.directories, self._wake.set)
        self._unsaved = False
        self._gathered: list[Chunk] = []
        """Read, and not stored yet: whatever fails before that, these come first in the next turn."""
        self._scanned = self._saved = clock.monotonic()
        self._records = Counter("remora_tail_records", "Records of log files handed on.", registry=registry)
        self._refused = Counter(
            "remora_tail_refused_records", "Records of log files that nothing takes; dropped.", registry=registry
        )
        self._retries = Counter(
            "remora_tail_retries", "Batches handed on again since nothing took them.", registry=registry
        )
        self._save_failures = Counter(
            "remora_tail_position_failures", "Positions that could not be saved.", registry=registry
        )
        self._failures = Counter("remora_tail_failures", "Turns of reading that failed.", registry=registry)
        registry.register(_State(tailer))

    async def start(self) -> dict[str, str]:
        """See settings.registry.Receiver. Raises OSError if positions cannot be read."""
        await asyncio.to_thread(self._tailer.files.open, self._clock.monotonic())
        # At once: the next start is not the first one any more, whatever comes of this one.
        self._unsaved = True
        await self._save()
        self._running = self._scope.spawn(self._run(), name="tail")
        self._scope.spawn(self._watch.run(), name="tail watch")
        return {}

    async def wait_failed(self) -> None:
        """Return never, raise what ended the reading or the watching."""
        await self._scope.wait_failed()

    async def close(self) -> None:
        """Store what is under way, save positions."""
        self._stopping = True
        self._wake.set()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=_CLOSE_S)
        await self._scope.close()
        if self._thread is not None:
            await asyncio.wait((self._thread,))  # whoever waited for it was cancelled; it still has the files
        await self._save()
        self._tailer.files.close()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                if not await self._turn():
                    await self._pause(self._pace.poll_s)
            except Exception:
                # Whatever it is: nobody else would notice that logs come no more. Nothing is lost, it is tried again.
                self._failures.inc()
                _log.exception("reading log files failed, trying again")
                await self._pause(_RETRY_MAX_S)

    async def _turn(self) -> bool:
        """Whether there was something to store."""
        now = self._clock.monotonic()
        if now - self._scanned >= self._pace.scan_s:
            self._scanned = now
            await self._in_thread(self._scan, now)
            self._watch.follow()
        self._wake.clear()
        chunks, batch = await self._in_thread(self._gather, now)
        if self._tailer.files.has_unsaved_names:
            # A start after a crash must know whose rest to look for among what was rotated meanwhile.
            self._tailer.files.has_unsaved_names = False
            self._unsaved = True
            await self._save()
        if chunks:
            await self._store(batch)
            self._gathered = []
            self._tailer.commit(chunks)
            self._unsaved = True
        if now - self._saved >= self._pace.save_s:
            self._saved = now
            await self._save()
        return len(batch) > 0

    async def _in_thread(self, work: Callable[[float], Result], now: float) -> Result:
        self._thread = asyncio.get_running_loop().run_in_executor(None, work, now)
        result: Result = await asyncio.shield(self._thread)
        return result

    def _scan(self, now: float) -> None:
        if self._metadata is not None:
            self._metadata.refresh(now)
        self._tailer.files.scan(now)
        self._origins.forget({one.path for one in self._tailer.files.all})

    def _gather(self, now: float) -> tuple[list[Chunk], Batch]:
        chunks = self._gathered = self._gathered or self._tailer.gather(now)
        batch = Batch(sender="tail")
        time = self._clock.now()
        for chunk in chunks:
            batch.logs += self._origins.records(chunk, time)
            batch.size_bytes += sum(len(one.text) + _RECORD_BYTES for one in chunk.records)
        return chunks, batch

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _store(self, batch: Batch) -> None:
        """Returns when all is stored, or refused for good, one by one."""
        delay = _RETRY_MIN_S
        while len(batch):
            try:
                # A copy: stages of the pipeline exchange the lists in a batch, and it may be needed again.
                await self._consumer.consume(
                    Batch(logs=list(batch.logs), size_bytes=batch.size_bytes, sender=batch.sender)
                )
            except Refused as error:
                if not error.retry:
                    await self._divide(batch, error)
                    return
                self._retries.inc()
                _log.warning("log files wait, trying again: %s", error)
                await asyncio.sleep(self._rng.uniform(0, delay))
                delay = min(2 * delay, _RETRY_MAX_S)
            else:
                self._records.inc(len(batch.logs))
                return

    async def _divide(self, batch: Batch, error: Refused) -> None:
        """Something in it is refused for good: find what."""
        if len(batch.logs) == 1:
            self._refused.inc()
            _log.error("a record of %s is dropped, nothing takes it: %s", _origin(batch.logs[0]), error)
            return
        middle = len(batch.logs) // 2
        for half in (batch.logs[:middle], batch.logs[middle:]):
            size = batch.size_bytes * len(half) // len(batch.logs)
            await self._store(Batch(logs=half, size_bytes=size, sender=batch.sender))

    async def _save(self) -> None:
        if not self._unsaved:
            return
        self._unsaved = False
        try:
            await asyncio.to_thread(self._tailer.files.save)
        except OSError as error:
            # Nothing is lost by it: what is read again has the same ids.
            self._unsaved = True
            self._save_failures.inc()
            _log.error("positions of log files are not saved: %s", error)


def _origin(record: LogRecord) -> str:
    return f"{record.body.get('log.file.path')} ({record.id})"


class _State(Collector):
    def __init__(self, tailer: Tailer) -> None:
        self._tailer = tailer

    def collect(self) -> Iterable[Metric]:
        files = self._tailer.files
        events = CounterMetricFamily("remora_tail_file_events", "What became of log files.", labels=["event"])
        for event in ("renamed", "deleted", "copied", "truncated", "vanished", "unreadable"):
            events.add_metric([event], files.counts[event])
        yield events
        yield CounterMetricFamily(
            "remora_tail_cut_lines", "Lines that were longer than is taken.", value=files.cut_lines
        )
        for name, text, value in (
            ("files", "Log files that are open.", len(files.all)),
            ("waiting_files", "Log files that are not open, for there are too many.", files.waiting),
            ("unread_bytes", "Bytes of open log files that were not read yet.", self._tailer.unread_bytes()),
        ):
            yield GaugeMetricFamily(f"remora_tail_{name}", text, value=value)
