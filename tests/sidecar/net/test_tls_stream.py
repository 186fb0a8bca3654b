"""TLS over a plain transport: what arrives, how it ends, and what is said when it can not go on."""

import asyncio
import contextlib
import gc
import ssl
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidecar.config.cluster import UpstreamTls
from sidecar.config.listener import DownstreamTls
from sidecar.net.outbox import Outbox
from sidecar.net.tls import client_context, server_context
from sidecar.net.tls_stream import TlsStream
from tests.sidecar.net.authority import Authority

Eventually = Callable[..., Awaitable[None]]


@dataclass
class App(asyncio.Protocol):
    """Notes what it is told."""

    half_open: bool = False
    transport: Any = None
    received: bytearray = field(default_factory=bytearray)
    ended: bool = False
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    paused: int = 0
    on_data: Callable[[], None] = lambda: None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.on_data()

    def eof_received(self) -> bool:
        self.ended = True
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()

    def pause_writing(self) -> None:
        self.paused += 1


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    """Server's and client's, both with a certificate of the same root."""
    authority = Authority()
    anchors, certificate = authority.anchors(), authority.issue()
    asking = DownstreamTls("default", "ROOTCA", require_client_certificate=True)
    return server_context(asking, certificate, anchors), client_context(UpstreamTls(), certificate, anchors)


@dataclass
class Pair:
    """Both ends of a connection."""

    server: App
    client: App
    server_stream: TlsStream
    client_stream: TlsStream


@asynccontextmanager
async def listening(context: ssl.SSLContext, app: App, streams: list[TlsStream]) -> AsyncIterator[int]:
    """A server that takes one connection; its port."""
    loop = asyncio.get_running_loop()

    def accept() -> TlsStream:
        streams.append(TlsStream(app, context, loop, server_side=True, outbox=Outbox(loop)))
        return streams[-1]

    server = await loop.create_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for stream in streams:
            stream.abort()
        await server.wait_closed()


@asynccontextmanager
async def connected(contexts: Contexts, server: App, client: App) -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    streams: list[TlsStream] = []
    async with listening(contexts[0], server, streams) as port:
        ours = TlsStream(client, contexts[1], loop, server_side=False, outbox=Outbox(loop))
        await loop.create_connection(lambda: ours, "127.0.0.1", port)
        await ours.shake_hands()
        await streams[0].shake_hands()
        try:
            yield Pair(server, client, streams[0], ours)
        finally:
            ours.abort()


async def test_what_is_written_arrives_whole_both_ways(contexts: Contexts, eventually: Eventually) -> None:
    down, up = bytes(range(256)) * 8192, b"x" * 100_001
    async with connected(contexts, App(), App()) as pair:
        pair.server.transport.write(down)
        pair.client.transport.write(up[:1])
        pair.client.transport.write(up[1:])
        await eventually(lambda: len(pair.client.received) >= len(down), "all has come")
        await eventually(lambda: len(pair.server.received) >= len(up), "all has come")
        assert pair.client.received == down
        assert pair.server.received == up


async def test_a_close_is_said_and_heard(contexts: Contexts) -> None:
    async with connected(contexts, App(), App()) as pair:
        pair.server.transport.write(b"last words")
        pair.server.transport.close()
        await asyncio.wait_for(pair.client.lost.wait(), 5)
        assert (pair.client.received, pair.client.ended, pair.client.error) == (b"last words", True, None)
        await asyncio.wait_for(pair.server.lost.wait(), 5)
        assert pair.server.error is None


async def test_one_direction_can_end_before_the_other(contexts: Contexts, eventually: Eventually) -> None:
    async with connected(contexts, App(half_open=True), App()) as pair:
        pair.client.transport.write(b"question")
        pair.client.transport.write_eof()
        await eventually(lambda: pair.server.ended, "the end of the question")
        assert pair.server.received == b"question"
        pair.server.transport.write(b"answer")
        await eventually(lambda: pair.client.received == b"answer", "an answer after the end of the question")
        pair.server.transport.close()
        await asyncio.wait_for(pair.client.lost.wait(), 5)
        assert pair.client.error is None


async def test_a_connection_cut_without_tls_saying_so_is_an_error(contexts: Contexts) -> None:
    async with connected(contexts, App(), App()) as pair:
        pair.server.transport.write(b"half an ans")
        await asyncio.sleep(0)
        pair.server_stream.plain.close()
        await asyncio.wait_for(pair.client.lost.wait(), 5)
        assert pair.client.received == b"half an ans"
        assert not pair.client.ended
        assert isinstance(pair.client.error, ssl.SSLEOFError)


async def test_bytes_that_are_no_tls_end_the_connection_with_an_alert(contexts: Contexts) -> None:
    async with connected(contexts, App(), App()) as pair:
        pair.client_stream.plain.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(pair.server.lost.wait(), 5)
        assert isinstance(pair.server.error, ssl.SSLError)
        assert pair.server.received == b""
        await asyncio.wait_for(pair.client.lost.wait(), 5)
        assert isinstance(pair.client.error, ssl.SSLError), "no alert came"
        assert "ALERT" in str(pair.client.error)


async def test_reading_can_be_paused_and_goes_on_where_it_was(contexts: Contexts, eventually: Eventually) -> None:
    server = App()

    def pause() -> None:
        server.transport.pause_reading()

    server.on_data = pause
    async with connected(contexts, server, App()) as pair:
        sent = b"".join(bytes([number]) * 100_000 for number in range(50))
        pair.client.transport.write(sent)
        await eventually(lambda: len(server.received) > 0, "the first records")
        largest = len(server.received)
        while len(server.received) < len(sent):
            before = len(server.received)
            server.transport.resume_reading()
            await eventually(lambda size=before: len(server.received) > size, "the next records")
            largest = max(largest, len(server.received) - before)
        assert server.received == sent
        assert largest < (256 + 16) * 1024, "more than one piece was handed on in spite of the pause"


async def test_records_that_come_together_are_one_piece(contexts: Contexts, eventually: Eventually) -> None:
    server = App()
    pieces: list[int] = []
    server.on_data = lambda: pieces.append(len(server.received))
    async with connected(contexts, server, App()) as pair:
        pair.client.transport.write(bytes(10 * 16_384))
        await eventually(lambda: len(server.received) == 10 * 16_384, "all of it")
        assert len(pieces) < 10


async def test_what_came_before_an_end_is_handed_on_before_it(contexts: Contexts, eventually: Eventually) -> None:
    """The end comes in the same read as several records, and reading is paused by the first of them."""
    server = App()
    server.on_data = lambda: server.transport.pause_reading()
    async with connected(contexts, server, App()) as pair:
        for _ in range(4):
            pair.client.transport.write(bytes(20_000))
        pair.client.transport.write_eof()
        await eventually(lambda: len(server.received) > 0, "the first records")
        while len(server.received) < 80_000:
            assert not server.ended
            before = len(server.received)
            server.transport.resume_reading()
            await eventually(lambda size=before: len(server.received) > size, "the next records")
        assert not server.ended, "the end was told while reading was paused"
        server.transport.resume_reading()
        await eventually(lambda: server.ended, "the end")


async def test_a_slow_reader_pauses_the_writer(contexts: Contexts, eventually: Eventually) -> None:
    async with connected(contexts, App(), App()) as pair:
        pair.client.transport.pause_reading()
        pair.server.transport.set_write_buffer_limits(high=64 * 1024)
        for _ in range(1_000):
            if pair.server.paused:
                break
            pair.server.transport.write(bytes(256 * 1024))
            await asyncio.sleep(0)
        assert pair.server.paused == 1


async def test_a_client_that_is_refused_is_told_why(contexts: Contexts) -> None:
    """TLS 1.3: the client has finished its handshake by then; the alert is the first thing that it reads."""
    authority = Authority()
    stranger = client_context(UpstreamTls(), authority.issue(), authority.anchors())
    stranger.verify_mode = ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    streams: list[TlsStream] = []
    client = App()
    async with listening(contexts[0], App(), streams) as port:
        ours = TlsStream(client, stranger, loop, server_side=False)
        await loop.create_connection(lambda: ours, "127.0.0.1", port)
        await ours.shake_hands()
        with pytest.raises(ssl.SSLCertVerificationError):
            await streams[0].shake_hands()
        await asyncio.wait_for(client.lost.wait(), 5)
    assert isinstance(client.error, ssl.SSLError)
    assert "UNKNOWN_CA" in str(client.error)


async def test_a_handshake_that_makes_no_sense_gets_an_alert(contexts: Contexts) -> None:
    streams: list[TlsStream] = []
    async with listening(contexts[0], App(), streams) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x00\x05hello")
        answer = await asyncio.wait_for(reader.read(), 5)
        with pytest.raises(ssl.SSLError):
            await streams[0].shake_hands()
        writer.close()
    assert answer[:1] == b"\x15", "no alert record (RFC 8446 5.1)"


async def test_a_handshake_given_up_closes_the_connection(contexts: Contexts) -> None:
    streams: list[TlsStream] = []
    async with listening(contexts[0], App(), streams) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16")
        while not streams:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(streams[0].shake_hands(), 0.05)
        assert await asyncio.wait_for(_ended(reader), 5)
        writer.close()


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Whether nothing more comes, by an orderly end or a reset."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("data", [b"\x16\x03\x01\0\x05hello", b"\x16\x03"], ids=["no handshake", "half a record"])
async def test_a_handshake_that_fails_leaves_nothing_behind(
    contexts: Contexts, eventually: Eventually, data: bytes
) -> None:
    """OpenSSL's memory, 50 KiB of a connection, is invisible to the garbage collector: nothing must wait for that."""
    loop = asyncio.get_running_loop()
    apps: list[weakref.ref[App]] = []
    over: list[asyncio.Task[None]] = []

    async def shake(stream: TlsStream) -> None:
        with contextlib.suppress(OSError):
            await stream.shake_hands()

    def made() -> TlsStream:
        app = App()
        apps.append(weakref.ref(app))
        stream = TlsStream(app, contexts[0], loop, server_side=True)
        over.append(loop.create_task(shake(stream)))
        return stream

    server = await loop.create_server(made, "127.0.0.1", 0)
    gc.disable()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()
        await eventually(lambda: over and over[0].done(), "the handshake has failed")
        over.clear()
        await eventually(lambda: apps[0]() is None, "all of it is freed")
    finally:
        gc.enable()
        server.close()
        await server.wait_closed()


async def test_what_keeps_a_lost_connection_keeps_none_of_openssl_s_memory(contexts: Contexts) -> None:
    async with connected(contexts, App(), App()) as pair:
        server, session = pair.server_stream, pair.server_stream.get_extra_info("ssl_object")
        assert session.version() == "TLSv1.3"
        held = sys.getrefcount(session)
        pair.client.transport.close()
        await asyncio.wait_for(pair.server.lost.wait(), 5)
        assert sys.getrefcount(session) == held - 1, "ours is the only reference left"
        assert server.get_extra_info("ssl_object") is None
        server.write(b"too late")
        server.close()
        assert server.is_closing()
