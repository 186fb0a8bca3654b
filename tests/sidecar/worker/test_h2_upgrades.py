"""WebSocket over HTTP/2 (RFC 8441): what is announced, and what an upgrade becomes where one side speaks HTTP/1.1."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h2.settings
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Frame, Opcode

from sidecar.config.cluster import Protocol
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.http import websocket
from tests.sidecar.worker.h2_peers import H2Client, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener, running_proxy

Eventually = Callable[..., Awaitable[None]]
MakeOrigin = Callable[..., Awaitable[H2Origin]]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ASK = (
    b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-One: 1\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FIELDS = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":authority", b"a.example"),
    (b":path", b"/chat"),
    (b"sec-websocket-version", b"13"),
]


async def forward(
    proxy: Proxy, upstream: Address, upgrades: tuple[str, ...] = ("websocket",), route: Any = (), **options: Any
) -> Address:
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", upstream, **options),),
        listeners=(plain_listener("in", address, everything(forward_to("up", upgrades=route)), upgrades=upgrades),),
    )
    assert isinstance(answer, Applied), answer
    return address


@pytest.fixture
async def echo() -> AsyncIterator[Address]:
    """A WebSocket server that says everything back."""

    async def say_back(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    server: Server
    async with serve(say_back, "127.0.0.1", 0, max_size=None, compression=None) as server:
        yield Address("127.0.0.1", next(iter(server.sockets)).getsockname()[1])


def announced(peer: H2Peer) -> int | None:
    return peer.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)


def text(message: bytes) -> bytes:
    """A client's frame."""
    return Frame(Opcode.TEXT, message).serialize(mask=True)


@pytest.mark.parametrize(
    ("upgrades", "route", "expected"),
    [
        pytest.param(("websocket",), (), 1, id="the listener allows it"),
        pytest.param((), (("websocket", True),), 1, id="a route allows it"),
        pytest.param((), (("websocket", False),), 0, id="nothing allows it"),
    ],
)
async def test_extended_connect_is_announced_where_something_may_be_upgraded(
    proxy: Proxy, origin: Origin, h2_client: H2Client, upgrades: tuple[str, ...], route: Any, expected: int
) -> None:
    peer = await h2_client.connect(await forward(proxy, origin.address, upgrades, route))
    assert (await peer.answer(peer.open(get()))).status == 200
    assert announced(peer) == expected


async def test_a_stream_speaks_with_a_server_of_http_1(
    proxy: Proxy, echo: Address, h2_client: H2Client, eventually: Eventually
) -> None:
    peer = await h2_client.connect(await forward(proxy, echo))
    stream = peer.open(FIELDS, end=False)
    await peer.send(stream, text(b"early"))
    await peer.until(lambda: stream.body, "the echo")
    assert (stream.status, stream.get(b"sec-websocket-accept"), stream.get(b"upgrade")) == (200, None, None)
    assert bytes(stream.body) == Frame(Opcode.TEXT, b"early").serialize(mask=False)

    large = b"x" * 1_000_000
    await peer.send(stream, text(large))
    await peer.until(lambda: len(stream.body) > len(large), "the large one")
    assert stream.body.endswith(large)
    await peer.send(stream, Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), end=True)
    await peer.until(lambda: stream.ended, "the end of both")

    await eventually(lambda: proxy.records, "it is recorded")
    (record,) = proxy.records
    assert (record.method, record.url, record.protocol) == (b"GET", b"/chat", "HTTP/2")
    assert (record.status, record.flags) == (101, "")
    assert record.bytes_received > 1_000_000
    assert record.bytes_sent > 1_000_000
    assert proxy.worker.cluster("up").counts.rq_active == 0


async def test_the_server_of_http_1_is_asked_as_if_by_http_1(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    async def switch(incoming: Incoming) -> None:
        key = incoming.request.get(b"sec-websocket-key")
        assert key is not None
        accept = websocket.accept_of(key)
        await incoming.raw(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Two: 2\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        await incoming.reader.read()
        incoming.close()

    origin.handler = switch
    peer = await h2_client.connect(await forward(proxy, origin.address))
    stream = peer.open([*FIELDS, (b"x-one", b"1")], end=False)
    await peer.until(lambda: stream.fields, "the answer")
    assert (stream.status, stream.get(b"x-two"), stream.get(b"sec-websocket-accept")) == (200, b"2", None)
    (request,) = origin.requests
    assert request.start == b"GET /chat HTTP/1.1"
    assert [request.get(name) for name in (b"connection", b"upgrade", b"x-one", b"content-length")] == [
        b"upgrade", b"websocket", b"1", None,
    ]  # fmt: skip
    assert len(request.get(b"sec-websocket-key") or b"") == 24
    peer.h2.end_stream(stream.id)
    peer.flush()
    await peer.until(lambda: stream.ended, "the end")


async def test_a_key_that_the_client_sends_is_the_client_s(proxy: Proxy, echo: Address, h2_client: H2Client) -> None:
    peer = await h2_client.connect(await forward(proxy, echo))
    stream = peer.open([*FIELDS, (b"sec-websocket-key", KEY)], end=False)
    await peer.until(lambda: stream.fields, "the answer")
    assert (stream.status, stream.get(b"sec-websocket-accept")) == (200, ACCEPT)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(b"200 OK\r\nContent-Length: 2\r\n\r\nok", 502, id="200, which over HTTP/2 would grant it"),
        pytest.param(b"101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 502, id="101 without its proof"),
        pytest.param(b"404 No\r\nContent-Length: 2\r\n\r\nno", 404, id="another answer is an answer"),
        pytest.param(b"302 There\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", 302, id="as is a redirect"),
    ],
)
async def test_what_does_not_switch_is_no_grant(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually, answer: bytes, status: int
) -> None:
    async def say(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 " + answer)

    origin.handler = say
    peer = await h2_client.connect(await forward(proxy, origin.address))
    stream = peer.open(FIELDS, end=False)
    await peer.send(stream, text(b"early"))
    await peer.until(lambda: stream.ended, "the answer")
    assert stream.status == status
    assert [record.flags for record in proxy.records] == ["UPE" if status == 502 else ""]
    assert len(origin.requests) == 1
    counts = proxy.worker.cluster("up").counts
    assert counts.rq_active == 0


async def test_where_it_is_not_allowed_the_stream_is_refused(proxy: Proxy, origin: Origin, h2_client: H2Client) -> None:
    address = await forward(proxy, origin.address, route=(("other", True), ("websocket", False)))
    peer = await h2_client.connect(address)
    stream = peer.open(FIELDS, end=False)
    await peer.until(lambda: stream.ended, "the answer")
    assert stream.status == 403
    assert not origin.requests
    assert (await peer.answer(peer.open(get()))).status == 200


async def test_a_client_of_http_1_speaks_with_a_server_of_http_2(
    proxy: Proxy, make_h2_origin: MakeOrigin, client: Client, eventually: Eventually
) -> None:
    async def grant(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"200"), (b"x-two", b"2")])
        await peer.until(lambda: stream.ended, "the client's end")
        await peer.send(stream, bytes(stream.body).upper(), end=True)

    origin = await make_h2_origin(ENABLE_CONNECT_PROTOCOL=1)
    origin.handler = grant
    connection = await client.connect(await forward(proxy, origin.address, protocol=Protocol.HTTP2))
    await connection.send(ASK)
    answer = await connection.answer(body=False)
    assert answer.status == 101
    assert [answer.get(name) for name in (b"upgrade", b"sec-websocket-accept", b"x-two", b"content-length")] == [
        b"websocket", ACCEPT, b"2", None,
    ]  # fmt: skip
    await connection.send(b"bytes")
    connection.writer.write_eof()
    assert await connection.closed() == b"BYTES"

    (request,) = origin.requests
    assert request.fields[:5] == FIELDS[:5]
    assert (request.get(b"x-one"), request.get(b"upgrade"), request.get(b"connection")) == (b"1", None, None)
    await eventually(lambda: proxy.records, "it is recorded")
    assert (proxy.records[0].status, proxy.records[0].flags) == (101, "")
    assert proxy.worker.cluster("up").counts.cx_active == 1, "the connection is for others as well"


async def test_what_a_server_of_http_2_refuses_is_an_answer(
    proxy: Proxy, make_h2_origin: MakeOrigin, client: Client
) -> None:
    async def refuse(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"401"), (b"content-length", b"2")])
        await peer.send(stream, b"no", end=True)

    origin = await make_h2_origin(ENABLE_CONNECT_PROTOCOL=1)
    origin.handler = refuse
    connection = await client.connect(await forward(proxy, origin.address, protocol=Protocol.HTTP2))
    await connection.send(ASK)
    answer = await connection.answer()
    assert (answer.status, answer.body) == (401, b"no")


async def test_a_stream_of_the_upstream_that_is_reset_cuts_the_client(
    proxy: Proxy, make_h2_origin: MakeOrigin, client: Client
) -> None:
    async def break_off(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"200")])
        await peer.until(lambda: stream.body, "a byte")
        peer.reset(stream)

    origin = await make_h2_origin(ENABLE_CONNECT_PROTOCOL=1)
    origin.handler = break_off
    connection = await client.connect(await forward(proxy, origin.address, protocol=Protocol.HTTP2))
    await connection.send(ASK)
    await connection.answer(body=False)
    await connection.send(b"x")
    assert await connection.was_cut()
    assert [(record.status, record.flags) for record in proxy.records] == [(101, "UR")]


async def test_real_peers_of_http_1_with_http_2_between_two_workers(
    proxy: Proxy, echo: Address, eventually: Eventually
) -> None:
    async with running_proxy() as second:
        inner = await forward(second, echo)
        outer = await forward(proxy, inner, protocol=Protocol.HTTP2)
        async with connect(f"ws://{outer.host}:{outer.port}/chat", max_size=None, compression=None) as socket:
            for message in ("hello", b"\0\xff", "x" * 1_000_000, b""):
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), 5.0) == message
        await eventually(lambda: proxy.records and second.records, "both have recorded it")
        assert [(record.status, record.flags, record.protocol) for record in (*proxy.records, *second.records)] == [
            (101, "", "HTTP/1.1"),
            (101, "", "HTTP/2"),
        ]


async def test_a_slow_reader_pauses_the_other_side(proxy: Proxy, origin: Origin, h2_client: H2Client) -> None:
    size = 8 * 1024 * 1024
    sent = 0

    async def flood(incoming: Incoming) -> None:
        nonlocal sent
        accept = websocket.accept_of(incoming.request.get(b"sec-websocket-key") or b"")
        await incoming.raw(
            b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        for _ in range(size // 65536):
            await incoming.raw(b"x" * 65536)
            sent += 65536
        incoming.close()

    origin.handler = flood
    peer = await h2_client.connect(await forward(proxy, origin.address))
    peer.greedy = False
    stream = peer.open(FIELDS, end=False)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < size
    peer.greedy = True
    peer.acknowledge(stream)
    peer.flush()
    await peer.until(lambda: stream.ended, "all of it")
    assert len(stream.body) == size
