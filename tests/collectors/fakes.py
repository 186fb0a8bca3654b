"""Small stand-ins for parts of the collector."""

import asyncio
import socket

from collectors.pipeline import Refused
from collectors.records import Batch


class Sink:
    """A consumer that keeps what it gets; closed, it lets batches wait; told so, it refuses them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()
        self.entered = 0
        self.refuse: Refused | None = None

    async def consume(self, batch: Batch) -> None:
        self.entered += 1
        await self.open.wait()
        if self.refuse is not None:
            raise self.refuse
        self.batches.append(batch)

    @property
    def messages(self) -> list[object]:
        return [record.body.get("message") for batch in self.batches for record in batch.logs]


def bound() -> tuple[socket.socket, tuple[str, int]]:
    """A socket on a free loopback port, and its address."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()
