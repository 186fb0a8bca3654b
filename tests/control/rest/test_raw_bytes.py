"""What clients write that no client library writes, over TLS to the server as it runs."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from control.plane import Plane
from control.rest.guard import MAX_BODY_BYTES
from control.rest.server import RestServer
from control.rest.workloads import Addresses
from mesh.asgi import MAX_DROPPED_BYTES

PIECE = bytes(1 << 20)


@dataclass
class Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(-1), 20)


@dataclass
class Rest:
    port: int
    context: ssl.SSLContext
    token: str

    def head(self, *lines: str, token: str | None = None, version: str = "1.1") -> bytes:
        fields = ["host: 127.0.0.1", f"authorization: Bearer {token or self.token}", *lines]
        return (
            f"POST /v1/apply HTTP/{version}\r\n{''.join(f'{line}{chr(13)}{chr(10)}' for line in fields)}\r\n".encode()
        )

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(plane: Plane, **settings: float) -> AsyncIterator[Rest]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    addresses = Addresses("127.0.0.1:1", "127.0.0.1:2", f"https://127.0.0.1:{port}")
    server = RestServer(plane.rest_app(addresses), sock, plane.serving.ssl_context(), **settings)
    sock.listen()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run_until_told())
        context = ssl.create_default_context(cadata=plane.stored.authority.roots.pem)
        yield Rest(port, context, plane.stored.admin_token)
        server.should_exit = True


@pytest.fixture
async def served(plane: Plane) -> AsyncIterator[Rest]:
    async with serving(plane) as rest:
        yield rest


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        pytest.param(("content-length: 5", "transfer-encoding: chunked"), "1.1", id="both lengths"),
        pytest.param(("transfer-encoding: chunked", "content-length: 5"), "1.1", id="both, the other way round"),
        pytest.param(("Content-Length: 0", "Transfer-Encoding: Chunked"), "1.1", id="both in other letters"),
        pytest.param(("transfer-encoding: chunked",), "1.0", id="chunked in HTTP 1.0"),
        pytest.param(("content-length: 5", "content-length: 6"), "1.1", id="two lengths that differ"),
        pytest.param(("content-length: 5, 6",), "1.1", id="a list of lengths"),
        pytest.param(("content-length: +5",), "1.1", id="a signed length"),
        pytest.param(("transfer-encoding: gzip, chunked",), "1.1", id="another coding"),
        pytest.param(("transfer-encoding: identity",), "1.1", id="no coding at all"),
        pytest.param(("transfer-encoding: chunked", "transfer-encoding: chunked"), "1.1", id="chunked twice"),
        pytest.param(("content-length : 5",), "1.1", id="a space before the colon"),
    ],
)
async def test_what_two_parsers_read_differently_is_400_and_the_connection_ends(
    served: Rest, lines: tuple[str, ...], version: str
) -> None:
    async with served.connected() as peer:
        smuggled = b"GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        peer.writer.write(served.head(*lines, version=version) + b"0\r\n\r\n" + smuggled)
        answer = await peer.answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("framing", ["announced", "chunked"])
@pytest.mark.parametrize(("token", "status"), [(None, b"413"), ("wrong", b"401")])
async def test_a_refusal_is_read_by_a_client_that_sends_its_whole_body_first(
    served: Rest, framing: str, token: str | None, status: bytes
) -> None:
    pieces = MAX_BODY_BYTES // len(PIECE) + 5
    async with served.connected() as peer:
        if framing == "announced":
            peer.writer.write(served.head(f"content-length: {pieces * len(PIECE)}", token=token))
        else:
            peer.writer.write(served.head("transfer-encoding: chunked", token=token))
        for _ in range(pieces):
            peer.writer.write(PIECE if framing == "announced" else b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
            await asyncio.wait_for(peer.writer.drain(), 20)
        if framing == "chunked":
            peer.writer.write(b"0\r\n\r\n")
        answer = await peer.answer()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b'"}')


async def test_a_refusal_comes_before_the_body_to_a_client_that_waits_for_100_continue(served: Rest) -> None:
    async with served.connected() as peer:
        peer.writer.write(served.head(f"content-length: {MAX_BODY_BYTES + 1}", "expect: 100-continue"))
        answer = await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_never_stops_sending_is_cut_off_at_the_bound(served: Rest) -> None:
    sent = 0
    async with served.connected() as peer:
        peer.writer.write(served.head("content-length: 99999999999"))
        with contextlib.suppress(ConnectionError):
            while sent < 2 * MAX_DROPPED_BYTES:
                peer.writer.write(PIECE)
                await asyncio.wait_for(peer.writer.drain(), 20)
                sent += len(PIECE)
    assert MAX_DROPPED_BYTES * 0.9 < sent < MAX_DROPPED_BYTES * 1.5
    async with served.connected() as peer:
        peer.writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        assert (await peer.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_that_says_nothing_or_too_slowly_is_closed_and_others_are_served(plane: Plane) -> None:
    async with (
        serving(plane, head_s=0.3) as served,
        served.connected() as silent,
        served.connected() as slow,
        served.connected() as quick,
    ):
        slow.writer.write(b"POST /v1")
        began = asyncio.get_running_loop().time()
        for _ in range(2):  # a second request on the same connection has its own time
            quick.writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert (await quick.reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
            slow.writer.write(b"/")
        assert await silent.answer() == b""
        assert await slow.answer() == b""
        assert asyncio.get_running_loop().time() - began < 5
        quick.writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert (await quick.reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        quick.writer.write(b"GET /heal")
        assert await quick.answer() == b""
