"""`POST /tap` over real sockets, with workers that are made up."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.agent import taps
from sidecar.agent.admin import admin_pages
from sidecar.agent.http_server import HttpServer
from sidecar.agent.sockets import open_socket
from sidecar.agent.taps import Taps
from sidecar.config.endpoint import Address
from sidecar.config.messages import Tap, TapCount, TapCounts, Tapped
from tests.sidecar.agent.tapped import tap_record, tapped_message
from tests.sidecar.agent.views import FakeViews, ask, exchange, parse_answer

Eventually = Callable[..., Awaitable[None]]


class FakeWorkers:
    """Remembers which taps are open; says at once that a tap is closed, with these counts."""

    def __init__(self) -> None:
        self.open: dict[int, Tap] = {}
        self.last = (0, 0)
        self.taps: Taps | None = None
        self.silent = False

    def tap(self, tap: Tap) -> set[int]:
        self.open[tap.number] = tap
        asyncio.get_running_loop().call_soon(self._opened, tap.number)
        return {0}

    def _opened(self, number: int) -> None:
        assert self.taps is not None
        self.taps.counted(0, TapCounts((TapCount(number, 0, 0),)))

    def untap(self, number: int) -> set[int]:
        self.open.pop(number, None)
        if not self.silent:
            asyncio.get_running_loop().call_soon(self._closed, number)
        return {0}

    def _closed(self, number: int) -> None:
        assert self.taps is not None
        self.taps.counted(0, TapCounts((TapCount(number, *self.last, closed=True),)))


class Desk:
    """The page, its workers, and clients."""

    def __init__(self, port: int, workers: FakeWorkers, all_taps: Taps) -> None:
        self.port = port
        self.workers = workers
        self.taps = all_taps

    async def open(self, **wish: Any) -> "Reader":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps(wish).encode()
        writer.write(b"POST /tap HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 "), head
        opened = Reader(reader, writer)
        first = await opened.line()
        assert (first["type"], first["workload"]) == ("tap", "reviews-v1")
        return opened

    def tell(self, *numbers: int, **changes: Any) -> None:
        self.taps.tapped(Tapped(numbers, tap_record(**changes)))


class Reader:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self) -> dict[str, Any]:
        """The next line."""
        size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 10), 16)
        data = await asyncio.wait_for(self.reader.readexactly(size + 2), 10)
        plain: dict[str, Any] = json.loads(data)
        return plain

    async def exchange(self) -> dict[str, Any]:
        while (line := await self.line())["type"] != "exchange":
            pass
        return line

    async def end(self) -> dict[str, Any]:
        """The last line, then the end of the stream."""
        while (line := await self.line())["type"] != "end":
            pass
        assert await asyncio.wait_for(self.reader.read(), 5) == b"0\r\n\r\n"
        return line

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    workers = FakeWorkers()
    all_taps = workers.taps = Taps(workers, "reviews-v1", SystemClock())
    async with TaskScope() as scope:
        server = HttpServer(admin_pages(FakeViews(), {("POST", "/tap"): all_taps.page}), scope)
        sock = open_socket(Address("127.0.0.1", 0))
        await server.start(sock)
        yield Desk(sock.getsockname()[1], workers, all_taps)
        await server.close()


async def test_records_come_as_they_happen_and_end_at_the_number_asked_for(desk: Desk) -> None:
    reader = await desk.open(path="/r", max=2)
    (tap,) = desk.workers.open.values()
    assert tap.filter.path == "/r"
    desk.tell(tap.number, target=b"/r/1", request=tapped_message(body=b"\x00\xff", body_bytes=5))
    first = await reader.exchange()
    assert (first["target"], first["request"]["body"], first["request"]["cut"]) == ("/r/1", "AP8=", 3)
    desk.workers.last = (5, 2)
    desk.tell(tap.number, target=b"/r/2")
    desk.tell(tap.number, target=b"/r/3")
    assert (await reader.exchange())["target"] == "/r/2"
    assert await reader.end() == {"type": "end", "matched": 5, "sent": 2, "dropped": 2, "why": "max"}
    assert desk.workers.open == {}
    assert desk.taps.open == 0
    await reader.close()


async def test_secrets_are_redacted_unless_they_are_asked_for(desk: Desk) -> None:
    careful, curious = await desk.open(), await desk.open(show_secrets=True)
    message = tapped_message(headers=((b"authorization", b"Bearer abc"),))
    desk.tell(*desk.workers.open, request=message)
    assert (await careful.exchange())["request"]["headers"] == [["authorization", "Bearer [redacted]"]]
    assert (await curious.exchange())["request"]["headers"] == [["authorization", "Bearer abc"]]
    await careful.close()
    await curious.close()


async def test_a_client_that_closes_its_half_gets_the_counts(desk: Desk) -> None:
    reader = await desk.open()
    desk.tell(*desk.workers.open)
    await reader.exchange()
    desk.workers.last = (4, 3)
    reader.writer.write_eof()
    assert await reader.end() == {"type": "end", "matched": 4, "sent": 1, "dropped": 3, "why": "client"}
    await reader.close()


async def test_what_comes_after_the_end_is_counted_as_lost(desk: Desk, eventually: Eventually) -> None:
    desk.workers.silent = True
    reader = await desk.open()
    (number,) = desk.workers.open
    reader.writer.write_eof()
    await eventually(lambda: not desk.workers.open, "the workers are told")
    desk.tell(number)
    desk.taps.counted(0, TapCounts((TapCount(number, 1, 0, closed=True),)))
    assert await reader.end() == {"type": "end", "matched": 1, "sent": 0, "dropped": 1, "why": "client"}
    await reader.close()


async def test_a_client_that_vanishes_ends_its_tap(desk: Desk, eventually: Eventually) -> None:
    reader = await desk.open()
    reader.writer.transport.abort()
    await eventually(lambda: not desk.workers.open and not desk.taps.open, "the tap is closed")


async def test_it_ends_when_its_time_is_over(desk: Desk) -> None:
    reader = await desk.open(seconds=0.2)
    assert (await reader.end())["why"] == "time"
    await reader.close()


async def test_it_ends_when_the_sidecar_stops(desk: Desk) -> None:
    reader = await desk.open()
    desk.taps.end("the sidecar stops")
    assert (await reader.end())["why"] == "the sidecar stops"
    await reader.close()


async def test_a_worker_that_hangs_does_not_hold_the_end_up(desk: Desk) -> None:
    desk.workers.silent = True
    reader = await desk.open(seconds=0.1)
    assert (await reader.end())["matched"] == 0
    await reader.close()


async def test_a_worker_that_dies_has_told_all(desk: Desk, eventually: Eventually) -> None:
    desk.workers.silent = True
    reader = await desk.open()
    desk.taps.worker_gone(0)
    desk.tell(*desk.workers.open)
    await reader.exchange()
    reader.writer.write_eof()
    await eventually(lambda: not desk.workers.open, "the workers are told")
    desk.taps.worker_gone(0)
    assert (await reader.end())["sent"] == 1
    await reader.close()


async def test_a_slow_reader_loses_records_and_is_told_how_many(desk: Desk, eventually: Eventually) -> None:
    reader = await desk.open()
    (number,) = desk.workers.open
    told = 0
    session = desk.taps._sessions[number]
    session._max_queued_bytes = 300_000
    while session.dropped < 10:
        desk.tell(number, request=tapped_message(body=b"x" * 60_000, body_bytes=60_000))
        told += 1
        assert session._queued_bytes <= 300_000
        assert told < 10_000
        await asyncio.sleep(0)
    desk.workers.last = (told, 0)
    reader.writer.write_eof()
    end = await reader.end()
    assert end["matched"] == told
    assert end["dropped"] >= 10
    assert end["sent"] + end["dropped"] == told
    await reader.close()


async def test_there_is_a_limit_to_how_many_tap_at_once(desk: Desk) -> None:
    readers = [await desk.open() for _ in range(taps.MAX_TAPS)]
    answer = await ask(desk.port, "POST", "/tap")
    assert (answer.status, answer.body) == (429, "8 taps are open already; end one first\n")
    for reader in readers:
        await reader.close()


async def test_what_makes_no_sense_is_refused(desk: Desk) -> None:
    body = b'{"statuses": ["x"]}'
    head = b"POST /tap HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = parse_answer(await exchange(desk.port, head + body))
    assert answer.status == 400
    assert answer.body.startswith("statuses[0]: 'x' is no status")


@pytest.mark.parametrize("user", [65534, None])
async def test_another_user_of_the_machine_is_refused(user: int | None, desk: Desk) -> None:
    desk.taps._user_of = lambda peer, ours: user
    answer = await ask(desk.port, "POST", "/tap")
    assert answer.status == 403
    assert desk.workers.open == {}


async def test_a_web_page_is_refused(desk: Desk) -> None:
    assert (await ask(desk.port, "POST", "/tap", origin="https://evil.example")).status == 403
    assert (await ask(desk.port, "POST", "/tap", host="evil.example")).status == 403
