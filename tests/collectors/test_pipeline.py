import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collectors.pipeline import Gate, Refused
from collectors.records import Batch
from tests.collectors.build import log
from tests.collectors.fakes import Sink

Eventually = Callable[..., Awaitable[None]]


def batch(name: str, size_bytes: int, sender: str = "") -> Batch:
    return Batch(logs=[log(name, name)], size_bytes=size_bytes, sender=sender)


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


async def pass_through(sink: Sink, gate: Gate, waiting: list[Batch]) -> list[object]:
    """What comes through, in its order, after the gate was full with one batch."""
    sink.open.clear()
    first = asyncio.ensure_future(gate.consume(batch("first", 1 << 30)))
    await asyncio.sleep(0)
    tasks = []
    for one in waiting:
        tasks.append(asyncio.ensure_future(gate.consume(one)))
        await asyncio.sleep(0)
    assert gate.waiting == len(waiting)
    sink.open.set()
    await asyncio.gather(first, *tasks)
    assert (gate.held_bytes, gate.waiting) == (0, 0)
    return sink.messages[1:]


async def test_a_sender_that_floods_makes_itself_wait_and_not_the_others() -> None:
    sink = Sink()
    gate = Gate(sink, 1 << 20)
    flood = [batch(f"f{n}", 1 << 20, "flood") for n in range(20)]
    quiet = [batch(f"{name}{n}", 1_000, name) for n in range(2) for name in "abc"]
    order = await pass_through(sink, gate, flood + quiet)
    assert [name for name in order if str(name).startswith("f")] == [f"f{n}" for n in range(20)]
    last_quiet = max(order.index(f"{name}1") for name in "abc")
    assert last_quiet <= 7, "they pass with the first of the flood"


async def test_in_bytes_senders_get_the_same_whatever_the_size_of_their_batches() -> None:
    sink = Sink()
    gate = Gate(sink, 1 << 20)
    large = [batch(f"l{n}", 1 << 20, "large") for n in range(4)]
    small = [batch(f"s{n}", 1 << 18, "small") for n in range(16)]
    order = [str(name) for name in await pass_through(sink, gate, large + small)]
    for place in range(4, 20):
        taken = order[:place]
        share_l = sum(name[0] == "l" for name in taken) * 4
        share_s = sum(name[0] == "s" for name in taken)
        assert abs(share_l - share_s) <= 5, taken


async def test_one_who_gives_up_in_the_moment_of_its_turn_keeps_no_place(eventually: Eventually) -> None:
    sink = Sink()
    sink.open.clear()
    gate = Gate(sink, 100)
    first = asyncio.ensure_future(gate.consume(batch("first", 100)))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(gate.consume(batch("second", 100, "b")))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (gate.held_bytes, gate.waiting) == (0, 0)
    sink.open.set()
    await gate.consume(batch("third", 100))
    assert sink.messages == ["third"]
