"""One client's tap, as lines: what it gets, what was dropped because it reads too slowly, why it ends."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable

from mesh.clock import Clock
from sidecar.agent.redaction import redact
from sidecar.agent.tap_lines import exchange_line, line
from sidecar.agent.tap_request import TapRequest
from sidecar.config.messages import TapCount
from sidecar.config.tap import TapRecord

MAX_QUEUED_BYTES = 8 * 1024 * 1024
"""Of records that the client has not read yet, counted without base64; what does not fit is dropped and counted."""

RECORD_BYTES = 2048
"""What a record is reckoned to hold besides its bodies."""

TELL_EVERY_S = 1.0
"""How often the client hears the counts: it shows them, and we notice that it is gone."""

OPEN_S = 2.0
"""How long the workers may take to say that the tap is open."""

LAST_COUNTS_S = 5.0
"""How long the workers' last counts are waited for: they come behind the records that are still under way."""


class TapSession:
    """Fed by the workers, read by one client."""

    def __init__(
        self,
        number: int,
        request: TapRequest,
        workload: str,
        clock: Clock,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.number = number
        self.request = request
        self._workload = workload
        self._clock = clock
        self._max_queued_bytes = max_queued_bytes
        self._queue: deque[TapRecord] = deque()
        self._queued_bytes = 0
        self._news = asyncio.Event()
        self._why: str | None = None
        self._awaited: set[int] = set()
        """Workers that are yet to answer."""
        self._is_closing = False
        self._answered = asyncio.Event()
        self.matched = 0
        """As the workers count; behind by up to a second."""
        self.dropped = 0
        self.sent = 0
        self._taken = 0

    # what the workers say

    def offer(self, record: TapRecord) -> None:
        """A record, for the client."""
        if self._why is not None:
            if self._why != "max":  # of which there may be any number more
                self.dropped += 1
            return
        size = _size(record)
        if self._queued_bytes + size > self._max_queued_bytes:
            self.dropped += 1
            return
        self._queue.append(record)
        self._queued_bytes += size
        self._taken += 1
        self._news.set()
        if self._taken >= self.request.max_records:
            self.end("max")

    def counted(self, worker: int, count: TapCount) -> None:
        """What a worker counted since it last told."""
        self.matched += count.matched
        self.dropped += count.dropped
        if count.closed or not self._is_closing:
            self.worker_gone(worker)

    def worker_gone(self, worker: int) -> None:
        """It will say nothing more."""
        self._awaited.discard(worker)
        if not self._awaited:
            self._answered.set()

    def end(self, why: str) -> None:
        """No more records; those that wait are still read."""
        if self._why is None:
            self._why = why
            self._news.set()

    # what the client reads

    async def lines(self, begin: Callable[[], set[int]], close: Callable[[], set[int]]) -> AsyncGenerator[bytes, None]:
        """Until `end` or the time is over. `begin` and `close` tell the workers, and return which will answer."""
        await self._heard(begin, OPEN_S)
        deadline = self._clock.monotonic() + self.request.seconds
        tell_at = 0.0
        yield line({"type": "tap", "workload": self._workload, "seconds": self.request.seconds})
        while self._why is None or self._queue:
            while self._queue:
                yield self._next()
            now = self._clock.monotonic()
            if now >= deadline:
                self.end("time")
            elif now >= tell_at:
                tell_at = now + TELL_EVERY_S
                yield self._counts("counts")
            await self._news_within(min(tell_at, deadline) - now)
        self._is_closing = True
        await self._heard(close, LAST_COUNTS_S)
        yield self._counts("end")

    def _next(self) -> bytes:
        record = self._queue.popleft()
        self._queued_bytes -= _size(record)
        if not self._queue and self._why is None:
            self._news.clear()
        self.sent += 1
        return exchange_line(record if self.request.show_secrets else redact(record), self._workload)

    async def _news_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()

    async def _heard(self, tell: Callable[[], set[int]], seconds: float) -> None:
        self._answered.clear()
        self._awaited = tell()
        if self._awaited:
            with contextlib.suppress(TimeoutError):  # a worker that hangs; what is known by now is told
                async with asyncio.timeout(seconds):
                    await self._answered.wait()

    def _counts(self, kind: str) -> bytes:
        plain = {
            "type": kind,
            # A worker tells its counts after its records: never fewer than what has been seen here.
            "matched": max(self.matched, self._taken + self.dropped),
            "sent": self.sent,
            "dropped": self.dropped,
        }
        return line(plain | ({"why": self._why} if kind == "end" else {}))


def _size(record: TapRecord) -> int:
    answer = record.answer
    return RECORD_BYTES + len(record.request.body) + (len(answer.body) if answer is not None else 0)
