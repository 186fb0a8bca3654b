"""What a connection is, by bytes that come in any pieces, late, or never; all of them are left for who takes it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SystemClock
from sidecar.listeners.context import OpenConnections
from sidecar.listeners.match import PLAINTEXT, Facts, Wanted
from sidecar.listeners.sniff import MAX_LINE_BYTES, Sniffer, http_version
from sidecar.net.timers import TimerWheel
from tests.sidecar.listeners.test_client_hello import of_openssl

Eventually = Callable[..., Awaitable[None]]
EVERYTHING = Wanted(True, True, True)
HELLO = of_openssl("a.example", ["h2"])
SEEN_HELLO = Facts(True, "a.example", ("h2",))


class Bench:
    """A sniffer, and connections to it whose other end the test has."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        clock = SystemClock()
        self.timers = TimerWheel(loop, clock)
        self.sniffer = Sniffer(loop, clock, self.timers, OpenConnections())
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listening]

    def connect(self, wanted: Wanted, timeout_s: float = 5.0) -> "tuple[socket.socket, asyncio.Future[Facts | None]]":
        near = socket.create_connection(self.listening.getsockname())
        far, _ = self.listening.accept()
        far.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets += [near, far]
        found: asyncio.Future[Facts | None] = asyncio.get_running_loop().create_future()
        self.sniffer.sniff(far, wanted, timeout_s, lambda _, facts: found.set_result(facts))
        self.far = far
        return near, found

    def close(self) -> None:
        self.sniffer.close()
        self.timers.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(asyncio.get_running_loop())
    yield made
    made.close()


async def said(bench: Bench, pieces: list[bytes], wanted: Wanted = EVERYTHING) -> Facts | None:
    """What comes out when these pieces come in, one by one; all bytes must still be there."""
    near, found = bench.connect(wanted)
    sent = b""
    for piece in pieces:
        near.sendall(piece)
        sent += piece
        await asyncio.sleep(0.002)
    facts = await asyncio.wait_for(found, 2)
    await asyncio.sleep(0.005)
    assert bench.far.recv(1 << 16) == sent
    assert bench.far.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    return facts


REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        pytest.param(HELLO, SEEN_HELLO, id="TLS"),
        pytest.param(REQUEST, Facts(protocols=("http/1.1",)), id="HTTP/1.1"),
        pytest.param(b"POST / HTTP/1.0\n\n", Facts(protocols=("http/1.0",)), id="HTTP/1.0"),
        pytest.param(PREFACE, Facts(protocols=("h2c",)), id="HTTP/2"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n", PLAINTEXT, id="Redis"),
        pytest.param(b"GET key\r\n", PLAINTEXT, id="Redis, as a person types it"),
        pytest.param(b"EHLO a.example\r\n", PLAINTEXT, id="SMTP"),
        pytest.param(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", PLAINTEXT, id="PostgreSQL"),
        pytest.param(b"SSH-2.0-x\r\n", PLAINTEXT, id="SSH"),
    ],
)
async def test_the_first_bytes_tell(bench: Bench, data: bytes, facts: Facts) -> None:
    assert await said(bench, [data]) == facts
    assert await said(bench, [data[:1], data[1:]]) == facts
    assert await said(bench, [data[:9], data[9:12], data[12:]]) == facts


async def test_no_more_is_looked_at_than_is_asked_for(bench: Bench) -> None:
    assert await said(bench, [HELLO[:1]], Wanted(True)) == Facts(True)
    assert await said(bench, [REQUEST], Wanted(True)) == PLAINTEXT
    assert await said(bench, [REQUEST], Wanted(True, hello=True)) == PLAINTEXT


async def test_waiting_for_more_costs_nothing(bench: Bench) -> None:
    near, found = bench.connect(EVERYTHING)
    near.sendall(HELLO[:100])
    before = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - before < 0.05, "woken again and again for bytes that it has seen"
    near.sendall(HELLO[100:])
    assert await asyncio.wait_for(found, 2) == SEEN_HELLO


async def test_silence_is_told_of_in_time(bench: Bench) -> None:
    for piece in (b"", b"GE", HELLO[:50]):
        near, found = bench.connect(EVERYTHING, timeout_s=0.08)
        near.sendall(piece)
        began = time.monotonic()
        assert await asyncio.wait_for(found, 2) is None
        assert time.monotonic() - began < 0.1


async def test_an_end_before_anything_is_known_closes_or_tells(bench: Bench, eventually: Eventually) -> None:
    for begun in (b"", HELLO[:50]):
        near, found = bench.connect(EVERYTHING)
        near.sendall(begun)
        near.shutdown(socket.SHUT_WR)
        await eventually(lambda: bench.far.fileno() == -1, "closed")
        assert not found.done()
    near, found = bench.connect(EVERYTHING)
    near.sendall(b"PING")
    near.shutdown(socket.SHUT_WR)
    assert await asyncio.wait_for(found, 2) == PLAINTEXT


async def test_a_hello_that_is_none_is_closed(bench: Bench, eventually: Eventually) -> None:
    near, found = bench.connect(EVERYTHING)
    near.sendall(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00")
    await eventually(lambda: bench.far.fileno() == -1, "closed")
    assert not found.done()


@given(st.binary(max_size=64), st.sampled_from([b"", b"GET /", b"PRI * HT", b"POST /x HTTP/1."]))
def test_any_bytes_are_http_or_not_and_more_bytes_do_not_change_that(tail: bytes, begin: bytes) -> None:
    data = begin + tail
    decided: str | int | None = 0
    for end in range(1, len(data) + 1):
        found = http_version(data[:end])
        if isinstance(decided, int):
            decided = found
            assert not isinstance(found, int) or end < found <= MAX_LINE_BYTES
        elif not isinstance(found, int):
            assert (found is None) == (decided is None)


def test_a_first_line_without_end_is_none_of_http() -> None:
    assert isinstance(http_version(b"GET /" + b"a" * (MAX_LINE_BYTES - 6)), int)
    assert http_version(b"GET /" + b"a" * MAX_LINE_BYTES) is None
    assert http_version(b"A" * 40) is None
