"""Taps on what is no plain request of HTTP/1.1: streams of HTTP/2, calls of gRPC, WebSocket, CONNECT."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import pytest

from sidecar.config.cluster import Protocol
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied, Tap, Tapped
from sidecar.config.tap import TapFilter, TapRecord
from sidecar.http import websocket
from tests.sidecar.worker.h2_peers import Fields, H2Client, H2Gate, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener
from tests.sidecar.worker.test_connect import ASK, Server, tunnels

Eventually = Callable[..., Awaitable[None]]

GRPC = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]


async def serve(
    proxy: Proxy, upstream: Address, *routes: Any, taps: TapFilter | None = None, **options: Any
) -> Address:
    """A listener, tapped."""
    address = proxy.bind()
    table = everything(*(routes or (forward_to("up"),)))
    answer = await proxy.apply(
        clusters=(cluster("up", upstream, **options),),
        listeners=(plain_listener("in", address, table, upgrades=("websocket",)),),
    )
    assert isinstance(answer, Applied), answer
    proxy.worker.tap(Tap(1, taps or TapFilter()))
    return address


def told(proxy: Proxy) -> list[TapRecord]:
    return [message.record for message in proxy.messages if isinstance(message, Tapped)]


def fields(headers: tuple[tuple[bytes, bytes], ...], *names: bytes) -> list[bytes | None]:
    return [next((value for key, value in headers if key == name), None) for name in names]


def message(data: bytes) -> bytes:
    """One of gRPC."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def call(path: str) -> Fields:
    return get(path, *GRPC, method=b"POST")


async def test_a_stream_is_told_as_the_client_sent_and_got_it(
    proxy: Proxy, origin: Origin, h2_client: H2Client
) -> None:
    origin.handler = answering(201, b"made", "X-Answer: 1")
    peer = await h2_client.connect(await serve(proxy, origin.address))
    stream = peer.open(get("/things?q=1", (b"x-custom", b"1"), (b"cookie", b"a=1"), method=b"POST"), end=False)
    await peer.send(stream, b"abc", end=True)
    await peer.answer(stream)

    (record,) = told(proxy)
    assert (record.method, record.scheme, record.authority, record.target, record.version) == (
        b"POST", b"http", b"a.example", b"/things?q=1", "HTTP/2",
    )  # fmt: skip
    sent, got = record.request, record.answer
    assert got is not None
    assert (sent.body, sent.body_bytes, sent.whole) == (b"abc", 3, True)
    assert fields(sent.headers, b"x-custom", b"cookie", b"host", b"transfer-encoding") == [b"1", b"a=1", None, None]
    assert (record.status, got.body, got.whole) == (201, b"made", True)
    assert sorted(got.headers) == sorted(field for field in stream.fields if field[0] != b":status")
    assert sent.began <= sent.ended <= got.began <= got.ended


async def test_streams_of_one_connection_are_told_each_by_itself(
    proxy: Proxy, origin: Origin, h2_client: H2Client
) -> None:
    async def by_path(incoming: Incoming) -> None:
        await incoming.answer(200, incoming.request.target)

    origin.handler = by_path
    peer = await h2_client.connect(await serve(proxy, origin.address, taps=TapFilter(path="/odd")))
    streams = [peer.open(get(f"/{'odd' if number % 2 else 'even'}/{number}")) for number in range(10)]
    for stream in streams:
        await peer.answer(stream)
    assert sorted((record.target, record.answer.body) for record in told(proxy) if record.answer) == [
        (b"/odd/%d" % number,) * 2 for number in (1, 3, 5, 7, 9)
    ]


async def test_a_call_of_grpc_with_its_messages_and_trailers(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    async def chat(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"200"), (b"content-type", b"application/grpc")])
        for number in range(3):
            await peer.until(lambda number=number: len(stream.body) > number * 7, "a message")
            await peer.send(stream, message(b"re%d" % number))
        await peer.until(lambda: stream.ended, "the end")
        peer.send_head(stream, [(b"grpc-status", b"0"), (b"x-sum", b"3")], end=True)

    h2_origin.handler = chat
    peer = await h2_client.connect(await serve(proxy, h2_origin.address, protocol=Protocol.HTTP2))
    stream = peer.open(call("/test.Echo/Chat"), end=False)
    for number in range(3):
        await peer.send(stream, message(b"q%d" % number), end=number == 2)
        await peer.until(lambda number=number: len(stream.body) >= (number + 1) * 8, "an answer")
    await peer.answer(stream)

    (record,) = told(proxy)
    assert record.answer is not None
    assert record.request.body == b"".join(message(b"q%d" % number) for number in range(3))
    assert record.answer.body == b"".join(message(b"re%d" % number) for number in range(3))
    assert record.answer.trailers == ((b"grpc-status", b"0"), (b"x-sum", b"3"))
    assert fields(record.request.headers, b"content-type", b"te") == [b"application/grpc", b"trailers"]
    assert (record.request.whole, record.answer.whole, record.flags) == (True, True, "")


async def test_a_local_reply_to_grpc_is_told_in_grpc_s_words(proxy: Proxy, h2_client: H2Client) -> None:
    peer = await h2_client.connect(
        await serve(proxy, Address("127.0.0.1", 1), protocol=Protocol.HTTP2, connect_timeout_s=0.5)
    )
    await peer.answer(peer.open(call("/a.B/C")))
    (record,) = told(proxy)
    assert record.answer is not None
    assert (record.status, record.flags) == (200, "UF")
    assert fields(record.answer.headers, b"grpc-status", b"content-type") == [b"14", b"application/grpc"]


@pytest.mark.parametrize("whose", ["client", "upstream"])
async def test_a_stream_that_is_reset_is_told_with_what_came_until_then(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually, whose: str
) -> None:
    async def half(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"200"), (b"content-length", b"10")])
        await peer.send(stream, b"half")
        if whose == "upstream":
            await peer.until(lambda: bytes(stream.body) == b"go on", "the client has it")
            peer.reset(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)

    h2_origin.handler = half
    peer = await h2_client.connect(await serve(proxy, h2_origin.address, protocol=Protocol.HTTP2))
    stream = peer.open(get("/half", method=b"POST"), end=False)
    await peer.until(lambda: bytes(stream.body) == b"half", "half of it")
    if whose == "client":
        peer.reset(stream)
    else:
        await peer.send(stream, b"go on")

    await eventually(lambda: told(proxy), "the request is told")
    (record,) = told(proxy)
    assert record.answer is not None
    assert record.flags == ("DC" if whose == "client" else "UR")
    assert (record.answer.body, record.answer.whole, record.request.whole) == (b"half", False, False)
    assert proxy.worker._taps._budget.held == 0


async def switch_and_echo(incoming: Incoming) -> None:
    accept = websocket.accept_of(incoming.request.get(b"sec-websocket-key") or b"")
    await incoming.raw(
        b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Two: 2\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        % accept
    )
    while data := await incoming.reader.read(100):
        await incoming.raw(data.upper())
    incoming.close()


async def test_a_websocket_with_its_bytes_both_ways(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    origin.handler = switch_and_echo
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await connection.answer(body=False)
    for said in (b"one", b"two"):
        await connection.send(said)
        await connection.reader.readexactly(3)
    assert not told(proxy), "it is under way"
    connection.writer.write_eof()
    await connection.closed()

    await eventually(lambda: told(proxy), "it is told at its end")
    (record,) = told(proxy)
    sent, got = record.request, record.answer
    assert got is not None
    assert (record.method, record.target, record.status, record.version) == (b"GET", b"/chat", 101, "HTTP/1.1")
    assert (sent.body, got.body) == (b"onetwo", b"ONETWO")
    assert (sent.whole, got.whole) == (True, True)
    assert fields(sent.headers, b"connection", b"upgrade", b"content-length") == [b"upgrade", b"websocket", None]
    framing = (b"connection", b"upgrade", b"x-two", b"transfer-encoding", b"content-length", b"server")
    assert fields(got.headers, *framing) == [b"upgrade", b"websocket", b"2", None, None, None]
    assert got.began <= sent.ended <= got.ended


async def test_a_websocket_of_http_2_is_told_as_the_upgrade_that_it_means(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    origin.handler = switch_and_echo
    peer = await h2_client.connect(await serve(proxy, origin.address, taps=TapFilter(max_body_bytes=4)))
    asked = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get("/chat")[1:]]
    stream = peer.open(asked, end=False)
    await peer.send(stream, b"one and two", end=True)
    await peer.until(lambda: stream.ended, "the end")

    await eventually(lambda: told(proxy), "it is told")
    (record,) = told(proxy)
    assert record.answer is not None
    assert (record.method, record.target, record.status, record.version) == (b"GET", b"/chat", 101, "HTTP/2")
    assert (record.request.body, record.request.body_bytes) == (b"one ", 11)
    assert (record.answer.body, record.answer.body_bytes) == (b"ONE ", 11)
    assert fields(record.request.headers, b"upgrade", b"connection") == [b"websocket", b"upgrade"]


async def test_a_refused_upgrade_and_an_answer_that_did_not_switch(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    asked = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    address = await serve(proxy, origin.address)
    refused = await client.connect(address)
    assert (await refused.ask(asked % b"other")).status == 403
    plain = await client.connect(address)
    assert (await plain.ask(asked % b"websocket")).status == 200
    assert [(record.status, record.answer.body if record.answer else None) for record in told(proxy)] == [
        (403, b""), (200, b"ok"),
    ]  # fmt: skip


async def test_a_connect(proxy: Proxy, origin: Origin, client: Client, eventually: Eventually) -> None:
    server = Server()
    await server.start()
    connection = await client.connect(await serve(proxy, server.address, tunnels()))
    await connection.send(ASK)
    await connection.answer(body=False)
    await connection.send(b"hello")
    assert await asyncio.wait_for(connection.reader.readexactly(5), 5.0) == b"hello"
    connection.writer.write_eof()
    await connection.closed()
    await eventually(lambda: told(proxy), "it is told")
    await server.close()
    (record,) = told(proxy)
    assert record.answer is not None
    assert (record.method, record.authority, record.target, record.status) == (b"CONNECT", b"db.example:5432", b"", 200)
    assert (record.request.body, record.answer.body) == (b"hello", b"hellobye")
    assert fields(record.answer.headers, b"transfer-encoding", b"content-length") == [None, None]


async def test_a_tap_that_opens_while_a_stream_is_under_way_tells_the_next_ones(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    gate = h2_origin.handler = H2Gate()
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", h2_origin.address, protocol=Protocol.HTTP2),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    peer = await h2_client.connect(address)
    before = peer.open(get("/before"))
    while not h2_origin.requests:
        await asyncio.sleep(0.01)
    proxy.worker.tap(Tap(1, TapFilter()))
    after = peer.open(get("/after"))
    gate.open()
    for stream in (before, after):
        assert (await peer.answer(stream)).status == 200
    assert [record.target for record in told(proxy)] == [b"/after"]
