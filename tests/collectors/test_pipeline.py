import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collectors.pipeline import Gate, Refused
from collectors.records import Batch
from tests.collectors.build import log
from tests.collectors.fakes import Sink

Eventually = Callable[..., Awaitable[None]]


def batch(name: str, size_bytes: int) -> Batch:
    return Batch(logs=[log(name, name)], size_bytes=size_bytes)


async def test_what_is_too_much_waits_and_goes_in_order(eventually: Eventually) -> None:
    sink = Sink()
    sink.open.clear()
    gate = Gate(sink, 100)
    tasks = [asyncio.ensure_future(gate.consume(batch(str(n), 40))) for n in range(5)]
    await eventually(lambda: sink.entered == 2, "two fit")
    assert (gate.held_bytes, gate.waiting) == (80, 3)
    small = asyncio.ensure_future(gate.consume(batch("small", 1)))
    await asyncio.sleep(0)
    assert sink.entered == 2, "a small one does not overtake"
    sink.open.set()
    await asyncio.gather(*tasks, small)
    assert sink.messages == ["0", "1", "2", "3", "4", "small"]
    assert (gate.held_bytes, gate.waiting) == (0, 0)


async def test_one_larger_than_the_gate_passes_alone() -> None:
    sink = Sink()
    gate = Gate(sink, 100)
    await asyncio.gather(gate.consume(batch("a", 1)), gate.consume(batch("huge", 10_000)))
    assert sink.messages == ["a", "huge"]
    assert gate.held_bytes == 0


async def test_who_gives_up_waiting_leaves_no_trace(eventually: Eventually) -> None:
    sink = Sink()
    sink.open.clear()
    gate = Gate(sink, 100)
    tasks = [asyncio.ensure_future(gate.consume(batch(str(n), 60))) for n in range(3)]
    await eventually(lambda: gate.waiting == 2, "two wait")
    tasks[1].cancel()
    tasks[0].cancel()
    await eventually(lambda: sink.entered == 2, "the third took the place")
    sink.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sink.messages == ["2"]
    assert (gate.held_bytes, gate.waiting) == (0, 0)


async def test_a_refusal_frees_its_place() -> None:
    sink = Sink()
    sink.refuse = Refused("no", retry=True)
    gate = Gate(sink, 100)
    with pytest.raises(Refused):
        await gate.consume(batch("a", 100))
    assert gate.held_bytes == 0
