"""Receivers hand batches to processors, those to an exporter, through one method: `consume(batch)`, as in the
OpenTelemetry Collector. It returns when the batch is stored; what a receiver then tells its sender is true. Nothing is
dropped here: when the exporter does not keep up, the gate makes receivers wait, and they stop reading.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
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


_QUANTUM_BYTES = 256 * 1024
"""What a sender may hand on when its turn comes; what it does not use of it is kept for its next turn."""


class Gate:
    """Lets batches through while no more than `max_bytes` are on their way; the others wait.

    Senders take turns (deficit round robin), each with as many bytes in a turn as any other: one that floods makes
    itself wait, and not those who send little. One sender's batches keep their order.
    """

    def __init__(self, then: Consumer, max_bytes: int) -> None:
        self._then = then
        self._max_bytes = max_bytes
        self._held = 0
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        """Of senders that wait, the one whose turn it is first."""
        self._waiting = 0

    @property
    def held_bytes(self) -> int:
        """Let in and not stored yet."""
        return self._held

    @property
    def waiting(self) -> int:
        """Batches not let in yet."""
        return self._waiting

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        # One that is larger than the gate passes when it is alone.
        size = min(max(batch.size_bytes, 1), self._max_bytes)
        await self._enter(batch.sender, size)
        try:
            await self._then.consume(batch)
        finally:
            self._held -= size
            self._admit()

    async def _enter(self, sender: str, size: int) -> None:
        if not self._waiting and self._held + size <= self._max_bytes:
            self._held += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(sender, _Queue()).batches.append((size, turn))
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._held -= size
            else:
                self._forget(sender, (size, turn))
            self._admit()
            raise

    def _forget(self, sender: str, entry: "_Entry") -> None:
        queue = self._queues.get(sender)
        if queue is None or entry not in queue.batches:
            return  # its turn came while it was being cancelled
        queue.batches.remove(entry)
        self._waiting -= 1
        if not queue.batches:
            del self._queues[sender]

    def _admit(self) -> None:
        while self._queues:
            sender, queue = next(iter(self._queues.items()))
            size, turn = queue.batches[0]
            if queue.credit < size:
                queue.credit += _QUANTUM_BYTES
                self._queues.move_to_end(sender)
                continue
            if self._held + size > self._max_bytes:
                return
            queue.batches.popleft()
            self._waiting -= 1
            if not queue.batches:
                del self._queues[sender]
            if turn.done():
                continue  # cancelled, and about to find that out
            queue.credit -= size
            self._held += size
            turn.set_result(None)


_Entry = tuple[int, "asyncio.Future[None]"]


@dataclass(slots=True)
class _Queue:
    batches: deque[_Entry] = field(default_factory=deque)
    credit: int = 0
    """Bytes that it may hand on."""
