"""A coarse timer for many things that rarely expire: setting a deadline is an assignment, not a loop timer.

Whoever is watched keeps `deadline` and moves it at will; the wheel looks at it when the earliest deadline that it was
told of has come, and again later if it has moved. Deadlines are met at most TICK_S late.
"""

import asyncio
import logging
from typing import Final, Protocol

from mesh.clock import Clock

TICK_S: Final = 0.01
"""Granularity, seconds."""

MAX_LOOK_S: Final = 5.0
"""A deadline further away is looked at this often, so that stale entries of one item stay few."""

NEVER: Final = float("inf")
"""No deadline."""

log = logging.getLogger(__name__)


class Timed(Protocol):
    """What the wheel watches. `look_at` is the wheel's own note: NEVER before the first watch."""

    deadline: float
    look_at: float

    def expired(self, now: float) -> None:
        """The deadline has passed; set another and watch again, or be forgotten."""


class TimerWheel:
    """One per event loop. `close` forgets everything."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._monotonic = clock.monotonic
        self._slots: dict[int, list[Timed]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next = 0
        self._closed = False

    def watch(self, item: Timed, now: float) -> None:
        """Call after `item.deadline` became earlier than `item.look_at`; otherwise there is nothing to do."""
        if item.deadline == NEVER or self._closed:
            return
        slot = int(min(item.deadline, now + MAX_LOOK_S) / TICK_S) + 1
        item.look_at = slot * TICK_S
        items = self._slots.get(slot)
        if items is None:
            self._slots[slot] = [item]
            if self._handle is None or slot < self._next:
                self._schedule(slot, now)
        else:
            items.append(item)

    def _schedule(self, slot: int, now: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next = slot
        self._handle = self._loop.call_later(max(0.0, slot * TICK_S - now), self._run)

    def _run(self) -> None:
        self._handle = None
        self.advance(self._monotonic())
        if self._slots and not self._closed:
            self._schedule(min(self._slots), self._monotonic())

    def advance(self, now: float) -> None:
        """Expire what is due at `now`. The loop's timer calls this; a test may, with its own clock."""
        present = int(now / TICK_S)
        for slot in sorted([slot for slot in self._slots if slot <= present]):
            due = slot * TICK_S
            for item in self._slots.pop(slot):
                if item.look_at != due:
                    continue  # watched again since, for an earlier moment
                item.look_at = NEVER
                if item.deadline <= now:
                    try:
                        item.expired(now)
                    except Exception:
                        log.exception("a timer of %r failed", item)
                else:
                    self.watch(item, now)

    def close(self) -> None:
        """Nothing expires any more."""
        self._closed = True
        self._slots.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
