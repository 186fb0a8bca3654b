"""The stage before a back end: a buffer on disk and a sender behind it. `consume` returns when the batch is durable in
the buffer; what becomes of it then is the sender's business, and survives the process."""

import asyncio
import random
from pathlib import Path
from typing import Self

from collectors.delivery.buffer import Buffer
from collectors.delivery.dead_letters import DeadLetters
from collectors.delivery.disk import KERNEL, Disk
from collectors.delivery.log import Log
from collectors.delivery.sender import Sender
from collectors.delivery.stats import DeliveryStats
from collectors.delivery.writer import LogLimits
from collectors.exporters.sink import Sink
from collectors.records import Batch
from collectors.settings.buffers import BufferSettings
from collectors.watching import wait_any_failed
from mesh.clock import Clock

_ROLLS = 8
"""Segments within max_age: what is dropped for its age is dropped by the segment."""


class Delivery:
    """One exporter's. A pipeline.Consumer."""

    def __init__(self, name: str, sink: Sink, buffer: Buffer, sender: Sender, stats: DeliveryStats) -> None:
        self.name = name
        self.stats = stats
        self._sink = sink
        self._buffer = buffer
        self._sender = sender
        self.closed = False

    @classmethod
    async def open(
        cls,
        name: str,
        sink: Sink,
        settings: BufferSettings,
        directory: Path,
        clock: Clock,
        rng: random.Random,
        *,
        ordered: bool = False,
        disk: Disk = KERNEL,
    ) -> Self:
        """Open or create the buffer in `directory` and begin to send what is in it.

        Raises BufferFault if another process has it or a newer program made it, OSError if it cannot be made.
        """
        spill = settings.spill
        limits = LogLimits(
            max_bytes=settings.max_bytes,
            segment_bytes=settings.segment_bytes,
            roll_s=(settings.max_age or 0.0) / _ROLLS,
            spill=None if spill is None else spill.directory,
            max_spill_bytes=0 if spill is None else spill.max_bytes,
        )
        log = await asyncio.to_thread(Log.open, directory, limits, disk)
        stats = DeliveryStats()
        buffer = Buffer(log, settings, clock, stats)
        letters = DeadLetters(directory, name, settings.dead_letter_bytes)
        sender = Sender(name, sink, buffer, letters, settings, stats, clock, rng)
        buffer.start()
        sender.start(1 if ordered else settings.parallel)
        return cls(name, sink, buffer, sender, stats)

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        if len(batch):
            await self._buffer.put(batch)

    async def wait_failed(self) -> None:
        """Return never, raise what ended the buffer or the sender: a mistake of ours."""
        await wait_any_failed((self._buffer, self._sender))

    async def close(self) -> None:
        """Send what is under way, keep the rest on disk. Raises OSError."""
        self.closed = True
        await self._sender.close()
        try:
            await self._buffer.close()
        finally:
            await self._sink.close()
