"""Writes of one round leave together, in order, within bounds; a close sends what waits first."""

import asyncio
from collections.abc import Callable

from sidecar.net.outbox import MAX_BYTES, MAX_WRITES, GatheringTransport, Outbox


class Plain:
    """A transport that notes what happens to it."""

    def __init__(self, name: str, log: list[tuple[str, object]]) -> None:
        self.name = name
        self.log = log
        self.closing = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.log.append((self.name, data))
        self.on_write()

    def write_eof(self) -> None:
        self.log.append((self.name, "eof"))

    def close(self) -> None:
        self.closing = True
        self.log.append((self.name, "close"))

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


def ground() -> tuple[Outbox, GatheringTransport, Plain, GatheringTransport, Plain, list[tuple[str, object]]]:
    log: list[tuple[str, object]] = []
    outbox = Outbox(asyncio.get_running_loop())
    a, b = Plain("a", log), Plain("b", log)
    return outbox, GatheringTransport(a, outbox), a, GatheringTransport(b, outbox), b, log


async def test_writes_leave_when_the_round_is_over_in_the_order_in_which_they_came() -> None:
    _, a, _, b, _, log = ground()
    a.write(b"1")
    b.write(b"2")
    a.write(b"3")
    assert log == []
    await asyncio.sleep(0)
    assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]


async def test_a_second_round_has_writes_of_its_own() -> None:
    _, a, _, _, _, log = ground()
    a.write(b"1")
    await asyncio.sleep(0)
    a.write(b"2")
    await asyncio.sleep(0)
    assert log == [("a", b"1"), ("a", b"2")]


async def test_many_writes_do_not_wait() -> None:
    _, a, _, _, _, log = ground()
    for _ in range(MAX_WRITES):
        a.write(b"x")
    assert len(log) == MAX_WRITES


async def test_much_data_does_not_wait_so_that_back_pressure_shows_where_it_arises() -> None:
    _, a, _, _, _, log = ground()
    a.write(b"x")
    a.write(bytes(MAX_BYTES))
    assert log == [("a", b"x"), ("a", bytes(MAX_BYTES))]


async def test_a_close_sends_what_waits_first() -> None:
    _, a, _, b, _, log = ground()
    a.write(b"1")
    b.write(b"2")
    b.close()
    assert log == [("a", b"1"), ("b", b"2"), ("b", "close")]


async def test_the_end_of_one_direction_follows_what_waits() -> None:
    _, a, _, _, _, log = ground()
    a.write(b"1")
    a.write_eof()
    assert log == [("a", b"1"), ("a", "eof")]


async def test_what_waits_for_an_aborted_connection_is_dropped() -> None:
    _, a, _, b, _, log = ground()
    a.write(b"1")
    b.write(b"2")
    a.abort()
    await asyncio.sleep(0)
    assert log == [("b", b"2")]


async def test_a_connection_closed_while_another_is_written_keeps_its_order() -> None:
    _, a, plain_a, b, _, log = ground()
    plain_a.on_write = b.close
    a.write(b"1")
    b.write(b"2")
    await asyncio.sleep(0)
    assert log == [("a", b"1"), ("b", b"2"), ("b", "close")]
