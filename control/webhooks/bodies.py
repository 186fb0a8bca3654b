"""Bodies of reviews while they come and are worked on: bounded in all, and slow senders give way to fast ones.

Nobody proves who he is at the webhooks, so a body is not granted room in advance: it pays with bytes. One that does not
come at a least rate is given up, and when the room is short the one that came slowest makes room for the others. Who
wants to keep the API server's reviews out has to send faster than it, all the time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from mesh.asgi import Receive, Scope, body_pieces


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be, and all of them together."""

    max_bytes: int = 12 * 1024 * 1024
    """Of a review: an object of 3 MiB, twice, as JSON in JSON. A pod of 5 MB is read, to be refused by name."""
    max_held_bytes: int = 48 * 1024 * 1024
    """Of all reviews that are being received or answered."""
    patience_s: float = 2.0
    """A body may stand still for so long."""
    least_bytes_per_s: int = 512 * 1024
    """A body that comes slower than this uses up its patience, one that comes faster gets it back."""
    timeout_s: float = 10.0
    """From a body's beginning to its end; the API server waits no longer for its answer."""


DEFAULT_LIMITS = BodyLimits()

_NO_ROOM = "others came faster, and there is no room for all"


class TooSlow(Exception):
    """The body did not come in its time."""


class NoRoom(Exception):
    """Others came faster, and there is no room for all."""


@dataclass(eq=False, slots=True)
class _Body:
    """One that is being received."""

    began: float
    due: float
    """When its patience is used up: who is due next is the slowest."""
    timeout: asyncio.Timeout
    data: bytearray = field(default_factory=bytearray)
    evicted: bool = False


class Bodies:
    """`receive` them; all times are the event loop's."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._coming: set[_Body] = set()
        self._answered_bytes = 0
        self._released = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        """In memory now, of bodies that come and of those that are being answered."""
        return self._answered_bytes + sum(len(body.data) for body in self._coming)

    @contextlib.asynccontextmanager
    async def receive(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body; its room is taken until the context ends. Raises TooSlow, NoRoom, and as `body_pieces`."""
        data = await self._whole(scope, receive)
        size = len(data)
        self._answered_bytes += size
        try:
            yield data
        finally:
            self._answered_bytes -= size
            self._released.set()

    async def _whole(self, scope: Scope, receive: Receive) -> bytes:
        now = asyncio.get_running_loop().time()
        due = now + self._limits.patience_s
        body = _Body(now, due, asyncio.timeout_at(due))
        self._coming.add(body)
        try:
            async with body.timeout, contextlib.aclosing(body_pieces(scope, receive, self._limits.max_bytes)) as pieces:
                async for piece in pieces:
                    await self._make_room(body, len(piece))
                    body.data += piece
                    self._progress(body, len(piece))
            return bytes(body.data)
        except TimeoutError:
            if body.evicted:
                raise NoRoom(_NO_ROOM) from None
            raise TooSlow(
                f"the body did not come in time: it may stand still for {self._limits.patience_s:g} s, and take "
                f"{self._limits.timeout_s:g} s in all"
            ) from None
        finally:
            self._coming.discard(body)
            self._released.set()

    def _progress(self, body: _Body, size: int) -> None:
        now = asyncio.get_running_loop().time()
        patience_s = min(self._limits.patience_s, body.due - now + size / self._limits.least_bytes_per_s)
        self._postpone(body, now + patience_s)

    def _postpone(self, body: _Body, due: float) -> None:
        body.due = min(due, body.began + self._limits.timeout_s)
        if not body.timeout.expired():
            body.timeout.reschedule(body.due)

    async def _make_room(self, body: _Body, size: int) -> None:
        """Return when `size` more bytes may be held. Raises NoRoom."""
        while True:
            if body.evicted:
                raise NoRoom(_NO_ROOM)
            if self.held_bytes + size <= self._limits.max_held_bytes:
                return
            slowest = min(self._coming, key=lambda each: each.due)
            if slowest is not body:
                self._evict(slowest)
            elif self._answered_bytes:
                # Answers end in their time; that this body stands still meanwhile is not its sender's fault.
                self._postpone(body, body.began + self._limits.timeout_s)
                self._released.clear()
                await self._released.wait()
            else:
                raise NoRoom(_NO_ROOM)

    def _evict(self, body: _Body) -> None:
        """Its room is free at once, its task ends with the loop's next turn."""
        self._coming.discard(body)
        body.evicted = True
        body.data = bytearray()
        self._postpone(body, asyncio.get_running_loop().time())
