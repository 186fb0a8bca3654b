"""Receivers hand batches to processors, those to an exporter, through one method: `consume(batch)`, as in the
OpenTelemetry Collector. It returns when the batch is stored; what a receiver then tells its sender is true. Nothing is
dropped here: when the exporter does not keep up, the gate makes receivers wait, and they stop reading.
"""

import asyncio
from collections import deque
from typing import Protocol

from collectors.records import Batch


class Refused(Exception):
    """The batch was not stored, and will not be by waiting longer."""

    def __init__(self, why: str, *, retry: bool) -> None:
        super().__init__(why)
        self.retry = retry
        """Whether sending the same again can help."""


class Consumer(Protocol):
    """A stage of the pipeline."""

    async def consume(self, batch: Batch) -> None:
        """Return when it is stored. Raises Refused."""


class Gate:
    """Lets batches through while no more than `max_bytes` are on their way; the others wait in order of arrival."""

    def __init__(self, then: Consumer, max_bytes: int) -> None:
        self._then = then
        self._max_bytes = max_bytes
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held_bytes(self) -> int:
        """Let in and not stored yet."""
        return self._held

    @property
    def waiting(self) -> int:
        """Batches not let in yet."""
        return len(self._waiting)

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        # One that is larger than the gate passes when it is alone.
        size = min(max(batch.size_bytes, 1), self._max_bytes)
        await self._enter(size)
        try:
            await self._then.consume(batch)
        finally:
            self._held -= size
            self._admit()

    async def _enter(self, size: int) -> None:
        if not self._waiting and self._held + size <= self._max_bytes:
            self._held += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._held -= size
            else:
                self._waiting.remove((size, turn))
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if self._held + size > self._max_bytes:
                return
            self._waiting.popleft()
            if not turn.done():
                self._held += size
                turn.set_result(None)
