"""WebSocket and other upgrades: who may switch protocols, and what passes once they are switched."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve

from sidecar.config.cluster import Protocol
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.config.route import RouteConfiguration, VirtualHost
from tests.sidecar.worker.h2_peers import H2Origin
from tests.sidecar.worker.peers import Client, Connection, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]

ASK = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: %b\r\nX-One: 1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\nX-Two: 2\r\n\r\n"


async def forward(
    proxy: Proxy,
    upstream: Address,
    upgrades: tuple[str, ...] = ("websocket",),
    *,
    route: tuple[tuple[str, bool], ...] = (),
    protocol: Protocol = Protocol.HTTP1,
    timeout_s: float | None = None,
    **http: object,
) -> Address:
    address = proxy.bind()
    table = everything(forward_to("up", upgrades=route, timeout_s=timeout_s))
    answer = await proxy.apply(
        clusters=(cluster("up", upstream, protocol=protocol),),
        listeners=(plain_listener("in", address, table, upgrades=upgrades, **http),),
    )
    assert isinstance(answer, Applied), answer
    return address


async def ask(client: Client, address: Address, protocol: bytes = b"websocket", more: bytes = b"") -> Connection:
    connection = await client.connect(address)
    await connection.send(ASK % protocol + more)
    return connection


@pytest.fixture
async def echo() -> AsyncIterator[Server]:
    """A WebSocket server that says everything back."""

    async def say_back(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(say_back, "127.0.0.1", 0, max_size=None) as server:
        yield server


def address_of(server: Server) -> Address:
    return Address("127.0.0.1", next(iter(server.sockets)).getsockname()[1])


async def test_real_peers_talk_over_websocket(proxy: Proxy, echo: Server, eventually: Eventually) -> None:
    address = await forward(proxy, address_of(echo), timeout_s=0.2)

    async with connect(f"ws://{address.host}:{address.port}/chat", max_size=None, compression=None) as socket:
        for message in ("hello", b"\0\xff", "x" * 1_000_000, b""):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), 5.0) == message
        await asyncio.sleep(0.3)  # longer than the route's time-out, which is for answers
        await socket.send("still here")
        assert await asyncio.wait_for(socket.recv(), 5.0) == "still here"

    await eventually(lambda: proxy.records, "the tunnel is recorded when it ends")
    (record,) = proxy.records
    assert (record.status, record.flags, record.protocol) == (101, "", "HTTP/1.1")
    assert record.bytes_received > 1_000_000
    assert record.bytes_sent > 1_000_000
    counts = proxy.worker.cluster("up").counts
    await eventually(lambda: counts.cx_active == 0, "the upstream's connection is closed, not pooled")
    assert counts.rq_active == 0


async def test_what_asks_and_what_answers_is_rendered_anew(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def switch(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket" + b"early")
        assert await incoming.reader.read(100) == b"ping"
        await incoming.raw(b"pong")
        incoming.close()

    origin.handler = switch
    connection = await ask(client, await forward(proxy, origin.address))
    answer = await connection.answer(body=False)

    assert answer.status == 101
    assert (answer.get(b"connection"), answer.get(b"upgrade"), answer.get(b"x-two")) == (b"upgrade", b"websocket", b"2")
    assert answer.get(b"content-length") is None
    assert answer.get(b"transfer-encoding") is None
    (request,) = origin.requests
    assert (request.get(b"connection"), request.get(b"upgrade"), request.get(b"x-one")) == (
        b"upgrade",
        b"websocket",
        b"1",
    )
    assert await connection.reader.readexactly(5) == b"early"
    await connection.send(b"ping")
    assert await connection.reader.readexactly(4) == b"pong"


async def test_what_the_client_sends_before_the_switch_waits_for_it(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    go_on = asyncio.Event()
    before = b""

    async def late(incoming: Incoming) -> None:
        nonlocal before
        with contextlib.suppress(TimeoutError):
            before = await asyncio.wait_for(incoming.reader.read(100), 0.1)
        await incoming.raw(SWITCH % b"websocket")
        await incoming.raw(await incoming.reader.readexactly(5))
        go_on.set()
        incoming.close()

    origin.handler = late
    connection = await ask(client, await forward(proxy, origin.address), more=b"early")

    assert (await connection.answer(body=False)).status == 101
    assert await connection.closed() == b"early"
    assert before == b""


@pytest.mark.parametrize(
    ("listener", "route", "protocol", "allowed"),
    [
        pytest.param((), (), b"websocket", False, id="no upgrades"),
        pytest.param(("websocket",), (), b"WebSocket", True, id="the name in any case"),
        pytest.param(("websocket",), (), b"other", False, id="another protocol"),
        pytest.param(("websocket",), (("websocket", False),), b"websocket", False, id="the route forbids it"),
        pytest.param((), (("websocket", True),), b"websocket", True, id="the route allows it"),
        pytest.param((), (("other", True),), b"other", True, id="any protocol that is named"),
    ],
)
async def test_who_may_switch(
    proxy: Proxy,
    origin: Origin,
    client: Client,
    eventually: Eventually,
    listener: tuple[str, ...],
    route: tuple[tuple[str, bool], ...],
    protocol: bytes,
    allowed: bool,
) -> None:
    async def switch(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % protocol.lower())
        incoming.close()

    origin.handler = switch
    connection = await ask(client, await forward(proxy, origin.address, listener, route=route), protocol)
    answer = await connection.answer(body=not allowed)

    assert answer.status == (101 if allowed else 403)
    await connection.closed()
    await connection.close()
    assert len(origin.requests) == allowed
    await eventually(lambda: proxy.records, "it is recorded")
    record = proxy.records[0]
    assert (record.status, record.details) == ((101, "via_upstream") if allowed else (403, "upgrade_failed"))


async def test_an_upgrade_answered_with_200_is_no_tunnel(proxy: Proxy, origin: Origin, client: Client) -> None:
    more = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    connection = await ask(client, await forward(proxy, origin.address), more=more)

    assert [(await connection.answer()).body for _ in range(2)] == [b"ok", b"ok"]
    assert [request.target for request in origin.requests] == [b"/chat", b"/next"]
    assert [record.url for record in proxy.records] == [b"/chat", b"/next"]


async def test_behind_an_upgrade_that_no_route_takes_the_connection_goes_on(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    address = proxy.bind()
    table = RouteConfiguration("local", (VirtualHost("one", ("one.example",), (forward_to("up"),)),))
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, table, upgrades=("websocket",)),),
    )
    connection = await ask(client, address, more=b"GET /next HTTP/1.1\r\nHost: one.example\r\n\r\n")

    assert [(await connection.answer()).status for _ in range(2)] == [404, 200]
    assert [request.target for request in origin.requests] == [b"/next"]


async def test_an_upstream_that_switches_unasked_is_502(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def switch(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket")

    origin.handler = switch
    connection = await client.connect(await forward(proxy, origin.address))
    assert (await connection.get()).status == 502
    assert proxy.records[0].flags == "UPE"


async def test_an_upstream_of_http_2_that_offers_no_extended_connect_is_not_asked(
    proxy: Proxy, client: Client, h2_origin: H2Origin
) -> None:
    connection = await ask(client, await forward(proxy, h2_origin.address, protocol=Protocol.HTTP2))
    assert (await connection.answer()).status == 502
    assert [(record.status, record.flags) for record in proxy.records] == [(502, "UPE")]
    assert not h2_origin.requests


@pytest.mark.parametrize("method", [b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n"])
async def test_connect_is_refused(proxy: Proxy, origin: Origin, client: Client, method: bytes) -> None:
    connection = await client.connect(await forward(proxy, origin.address))
    await connection.send(method + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (await connection.answer()).status == 403
    assert await connection.closed() == b""
    assert not origin.requests


async def test_each_side_closes_its_half(proxy: Proxy, origin: Origin, client: Client, eventually: Eventually) -> None:
    heard = b""

    async def half(incoming: Incoming) -> None:
        nonlocal heard
        await incoming.raw(SWITCH % b"websocket" + b"all that I say")
        incoming.writer.write_eof()
        heard = await incoming.reader.read()
        incoming.close()

    origin.handler = half
    connection = await ask(client, await forward(proxy, origin.address))
    await connection.answer(body=False)

    assert await connection.closed() == b"all that I say"
    assert not proxy.records, "the client may still send"
    await connection.send(b"and I")
    connection.writer.write_eof()

    await eventually(lambda: heard == b"and I", "the other half arrives")
    await eventually(lambda: proxy.records, "the tunnel is over")
    assert proxy.records[0].flags == ""


async def test_the_client_may_close_its_half_first(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def answer_at_the_end(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket")
        said = await incoming.reader.read()
        await incoming.raw(said.upper())
        incoming.close()

    origin.handler = answer_at_the_end
    connection = await ask(client, await forward(proxy, origin.address))
    await connection.answer(body=False)
    await connection.send(b"question")
    connection.writer.write_eof()
    assert await connection.closed() == b"QUESTION"


async def test_a_reset_of_the_upstream_resets_the_client(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def break_off(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket")
        await incoming.reader.read(1)
        sock = incoming.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        incoming.reset()

    origin.handler = break_off
    connection = await ask(client, await forward(proxy, origin.address))
    await connection.answer(body=False)
    await connection.send(b"x")

    assert await connection.was_cut()
    assert (proxy.records[0].status, proxy.records[0].flags) == (101, "UC")


async def test_a_client_that_vanishes_ends_the_upstream(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def listen(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket")
        await incoming.reader.read()

    origin.handler = listen
    connection = await ask(client, await forward(proxy, origin.address))
    await connection.answer(body=False)
    connection.writer.transport.abort()

    await eventually(lambda: not origin.open, "the upstream's connection ends")
    assert proxy.worker.cluster("up").counts.rq_active == 0


async def test_a_tunnel_on_which_nobody_speaks_is_closed(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def listen(incoming: Incoming) -> None:
        await incoming.raw(SWITCH % b"websocket")
        await incoming.reader.read()

    origin.handler = listen
    connection = await ask(client, await forward(proxy, origin.address, stream_idle_timeout_s=0.2))
    await connection.answer(body=False)

    assert await connection.was_cut()
    await eventually(lambda: not origin.open, "the upstream's connection ends")
    assert proxy.records[0].flags == "SI"


async def test_a_slow_reader_pauses_the_other_side(proxy: Proxy, origin: Origin, client: Client) -> None:
    size = 16 * 1024 * 1024
    sent = 0

    async def flood(incoming: Incoming) -> None:
        nonlocal sent
        await incoming.raw(SWITCH % b"websocket")
        for _ in range(size // 65536):
            await incoming.raw(b"x" * 65536)
            sent += 65536
        incoming.close()

    origin.handler = flood
    connection = await ask(client, await forward(proxy, origin.address))
    await connection.answer(body=False)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < size

    received = 0
    while data := await asyncio.wait_for(connection.reader.read(1 << 20), 5.0):
        received += len(data)
    assert received == size
