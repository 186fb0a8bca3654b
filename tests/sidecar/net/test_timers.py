"""The wheel meets deadlines, follows those that move, forgets those that are given up, and leaves the loop alone."""

import asyncio

from mesh.clock import SystemClock
from sidecar.net.timers import MAX_LOOK_S, NEVER, TICK_S, TimerWheel


class Item:
    def __init__(self) -> None:
        self.deadline = NEVER
        self.look_at = NEVER
        self.expirations: list[float] = []

    def expired(self, now: float) -> None:
        self.expirations.append(now)


def wheel() -> TimerWheel:
    return TimerWheel(asyncio.get_running_loop(), SystemClock())


async def test_a_deadline_is_met_at_most_a_tick_late() -> None:
    timers, item = wheel(), Item()
    item.deadline = 100.25
    timers.watch(item, 100.0)

    timers.advance(100.24)
    assert item.expirations == []
    timers.advance(100.25 + 2 * TICK_S)
    assert len(item.expirations) == 1
    timers.advance(200.0)
    assert len(item.expirations) == 1, "it expired twice"
    timers.close()


async def test_a_deadline_that_moved_away_is_followed() -> None:
    timers, item = wheel(), Item()
    item.deadline = 101.0
    timers.watch(item, 100.0)
    item.deadline = 102.0  # an assignment, no call

    timers.advance(101.5)
    assert item.expirations == []
    timers.advance(102.0 + 2 * TICK_S)
    assert len(item.expirations) == 1
    timers.close()


async def test_a_deadline_that_came_nearer_is_met_when_watched_again() -> None:
    timers, item = wheel(), Item()
    item.deadline = 104.0
    timers.watch(item, 100.0)
    item.deadline = 101.0
    assert item.deadline < item.look_at
    timers.watch(item, 100.0)

    timers.advance(101.0 + 2 * TICK_S)
    timers.advance(110.0)
    assert len(item.expirations) == 1, "the stale entry expired it again"
    timers.close()


async def test_a_deadline_given_up_never_comes() -> None:
    timers, item = wheel(), Item()
    item.deadline = 101.0
    timers.watch(item, 100.0)
    item.deadline = NEVER

    timers.advance(1000.0)
    assert item.expirations == []
    timers.close()


async def test_a_far_deadline_is_looked_at_now_and_then() -> None:
    timers, item = wheel(), Item()
    item.deadline = 100.0 + 3 * MAX_LOOK_S
    timers.watch(item, 100.0)
    looks = 0
    now = 100.0
    while not item.expirations:
        now += MAX_LOOK_S / 2
        timers.advance(now)
        looks += 1
    assert item.deadline <= now < item.deadline + MAX_LOOK_S
    timers.close()


async def test_a_failing_item_does_not_stop_the_others(caplog: object) -> None:
    timers = wheel()

    class Failing(Item):
        def expired(self, now: float) -> None:
            raise RuntimeError("on purpose")

    items = [Failing(), Item()]
    for item in items:
        item.deadline = 101.0
        timers.watch(item, 100.0)
    timers.advance(102.0)
    assert len(items[1].expirations) == 1
    timers.close()


async def test_the_loop_calls_it() -> None:
    clock = SystemClock()
    timers, item = TimerWheel(asyncio.get_running_loop(), clock), Item()
    now = clock.monotonic()
    item.deadline = now + 0.03
    timers.watch(item, now)
    other = Item()
    other.deadline = now + 0.01
    timers.watch(other, now)

    while not item.expirations:
        await asyncio.sleep(0.005)
    assert other.expirations[0] <= item.expirations[0]
    assert item.expirations[0] >= item.deadline
    timers.close()
