"""CONNECT over HTTP/1.1 and HTTP/2: where a route allows it, what ends here, what goes on to a proxy, how it ends."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h2.errors
import pytest

from sidecar.config.cluster import Protocol, Thresholds
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.config.route import DirectResponse, Forward, Route, RouteConfiguration, RouteMatch, VirtualHost
from sidecar.config.route import WeightedCluster as Weighted
from tests.sidecar.worker.h2_peers import H2Client, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Connection, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]

ASK = b"CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n"
FIELDS = [(b":method", b"CONNECT"), (b":authority", b"db.example:5432")]
ALLOWED = (("connect", True),)


class Server:
    """A server of bytes: `serve` is what it does with each connection; the default says everything back."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 0)
        self.connections = 0
        self.open = 0
        self.heard = b""
        self.lost: Exception | None = None
        self._server: asyncio.Server | None = None
        self.serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = self.say_back

    async def say_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.heard += data
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.serve(reader, writer)
        except OSError as error:
            self.lost = error
        finally:
            self.open -= 1
            writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.close()


def tunnels(name: str = "up", **options: Any) -> Route:
    """A route that takes CONNECT, and ends it here unless told otherwise."""
    options = {"upgrades": ALLOWED, "end_connect": True} | options
    return Route("tunnel", RouteMatch(connect=True), Forward((Weighted(name, 1),), **options))


async def serve(
    proxy: Proxy, upstream: Address, *routes: Route, options: dict[str, Any] | None = None, **http: Any
) -> Address:
    address = proxy.bind()
    table = everything(*(routes or (tunnels(),)))
    answer = await proxy.apply(
        clusters=(cluster("up", upstream, **({"connect_timeout_s": 1.0} | (options or {}))),),
        listeners=(plain_listener("in", address, table, **http),),
    )
    assert isinstance(answer, Applied), answer
    return address


async def ask(client: Client, address: Address, more: bytes = b"") -> Connection:
    connection = await client.connect(address)
    await connection.send(ASK + more)
    return connection


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# HTTP/1.1


async def test_a_tunnel_ends_here_and_its_bytes_go_to_the_endpoint(
    proxy: Proxy, server: Server, client: Client, eventually: Eventually
) -> None:
    connection = await ask(client, await serve(proxy, server.address), b"early")
    answer = await connection.answer(body=False)

    assert (answer.start, answer.get(b"server")) == (b"HTTP/1.1 200 OK", b"remora")
    for name in (b"content-length", b"transfer-encoding", b"connection", b"upgrade"):
        assert answer.get(name) is None, "RFC 9110 9.3.6"
    assert await connection.reader.readexactly(5) == b"early"
    await connection.send(b"\0\xff\r\nGET / HTTP/1.1\r\n\r\n")
    assert (await connection.reader.readexactly(22))[:2] == b"\0\xff"
    assert not proxy.records, "it is under way"
    connection.writer.write_eof()
    assert await connection.closed() == b"bye", "the other direction goes on behind our end"

    assert server.heard == b"early\0\xff\r\nGET / HTTP/1.1\r\n\r\n", "nothing of the request itself"
    await eventually(lambda: proxy.records, "the tunnel is recorded when it ends")
    (record,) = proxy.records
    assert (record.method, record.authority, record.url) == (b"CONNECT", b"db.example:5432", b"")
    assert (record.status, record.flags, record.details) == (200, "", "via_upstream")
    assert (record.bytes_received, record.bytes_sent) == (27, 30)
    assert (record.route, record.cluster, record.upstream) == ("tunnel", "up", str(server.address))
    counts = proxy.worker.cluster("up").counts
    await eventually(lambda: counts.cx_active == 0, "the endpoint's connection is closed, not pooled")
    assert (counts.rq_active, counts.cx_total) == (0, 1)
    (live,) = proxy.worker.listeners
    assert live.counts.upgrades == 1


async def test_a_server_may_speak_first_and_end_first(proxy: Proxy, server: Server, client: Client) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here I am")
        writer.write_eof()
        server.heard = await reader.read()

    server.serve = greet
    connection = await ask(client, await serve(proxy, server.address))
    await connection.answer(body=False)

    assert await connection.closed() == b"220 here I am"
    assert not proxy.records, "the client may still send"
    await connection.send(b"thanks")
    connection.writer.write_eof()
    while not server.heard:
        await asyncio.sleep(0.01)
    assert server.heard == b"thanks"


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param((forward_to("up"),), id="no route takes CONNECT"),
        pytest.param((forward_to("up", upgrades=ALLOWED),), id="a route by path takes none"),
        pytest.param((tunnels(upgrades=()),), id="the route takes it and allows it not"),
        pytest.param((tunnels(upgrades=(("connect", False),)),), id="the route forbids it"),
    ],
)
async def test_where_no_route_allows_it_nothing_is_read_behind_a_403(
    proxy: Proxy, server: Server, client: Client, routes: tuple[Route, ...]
) -> None:
    connection = await ask(
        client, await serve(proxy, server.address, *routes), b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert (await connection.answer()).status == 403
    assert await connection.closed() == b""
    assert server.connections == 0
    assert [(record.status, record.details) for record in proxy.records] == [(403, "upgrade_failed")]


async def test_a_route_for_connect_takes_nothing_else(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin.address))
    assert (await connection.get()).status == 404
    asked = await connection.get("/", "Connection: upgrade", "Upgrade: connect")
    assert asked.status == 404
    assert not origin.requests


async def test_the_name_of_the_method_is_no_protocol_to_upgrade_to(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    address = await serve(proxy, origin.address, forward_to("up"), tunnels(), upgrades=("connect",))
    connection = await client.connect(address)
    assert (await connection.get("/", "Connection: upgrade", "Upgrade: connect")).status == 403
    assert not origin.requests


async def test_behind_a_chunked_answer_a_tunnel_is_not_chunked(
    proxy: Proxy, server: Server, origin: Origin, client: Client
) -> None:
    async def chunked(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    origin.handler = chunked
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", server.address), cluster("web", origin.address)),
        listeners=(plain_listener("in", address, everything(forward_to("web"), tunnels())),),
    )
    connection = await client.connect(address)
    assert (await connection.get()).get(b"transfer-encoding") == b"chunked"
    await connection.send(ASK)
    await connection.answer(body=False)
    await connection.send(b"hello")
    assert await asyncio.wait_for(connection.reader.readexactly(5), 5.0) == b"hello"


async def test_hosts_are_told_apart_with_their_ports(proxy: Proxy, server: Server, client: Client) -> None:
    address = proxy.bind()
    hosts = (
        VirtualHost("db", ("db.example:5432",), (tunnels(),)),
        VirtualHost("rest", ("*",), (Route("none", RouteMatch(connect=True), DirectResponse(502)),)),
    )
    await proxy.apply(
        clusters=(cluster("up", server.address),),
        listeners=(plain_listener("in", address, RouteConfiguration("local", hosts)),),
    )
    connection = await ask(client, address)
    assert (await connection.answer(body=False)).status == 200
    other = await client.connect(address)
    assert (await other.ask(ASK.replace(b"5432", b"5433"))).status == 502
    assert await other.closed() == b""
    assert server.connections == 1


async def test_an_endpoint_that_can_not_be_reached_is_503(proxy: Proxy, client: Client) -> None:
    connection = await ask(client, await serve(proxy, Address("127.0.0.1", 1)), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await connection.answer()).status == 503
    assert await connection.closed() == b"", "what came early is not read as a request"
    assert [(record.status, record.flags) for record in proxy.records] == [(503, "UF")]
    counts = proxy.worker.cluster("up").counts
    assert (counts.cx_connect_fail, counts.cx_active, counts.rq_active) == (1, 0, 0)


async def test_too_much_before_the_answer_is_refused(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def never(incoming: Incoming) -> None:
        await asyncio.sleep(60)

    origin.handler = never
    connection = await ask(client, await serve(proxy, origin.address, tunnels(end_connect=False)))
    await connection.send(b"x" * (64 * 1024 + 1))
    assert (await connection.answer()).status == 400
    assert [record.details for record in proxy.records] == ["http1.codec_error"]


async def test_a_reset_of_the_endpoint_resets_the_client(proxy: Proxy, server: Server, client: Client) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    server.serve = break_off
    connection = await ask(client, await serve(proxy, server.address))
    await connection.answer(body=False)
    await connection.send(b"x")
    assert await connection.was_cut()
    assert [(record.status, record.flags) for record in proxy.records] == [(200, "UC")]


async def test_a_client_that_vanishes_resets_the_endpoint(
    proxy: Proxy, server: Server, client: Client, eventually: Eventually
) -> None:
    connection = await ask(client, await serve(proxy, server.address), b"hello")
    await connection.answer(body=False)
    await connection.reader.readexactly(5)
    reset(connection.writer)

    await eventually(lambda: not server.open, "the endpoint's connection ends")
    assert isinstance(server.lost, ConnectionResetError), "what came must not pass for all"
    assert [record.flags for record in proxy.records] == ["DC"]
    assert proxy.worker.cluster("up").counts.rq_active == 0


@pytest.mark.parametrize(
    ("http", "flag"),
    [
        pytest.param({"stream_idle_timeout_s": 0.2}, "SI", id="idle"),
        pytest.param({"max_stream_duration_s": 0.2}, "DT", id="too long"),
    ],
)
async def test_a_tunnel_has_its_time(
    proxy: Proxy, server: Server, client: Client, eventually: Eventually, http: dict[str, float], flag: str
) -> None:
    route = tunnels(timeout_s=0.05)  # for an answer, which has come
    connection = await ask(client, await serve(proxy, server.address, route, **http))
    await connection.answer(body=False)
    assert await connection.was_cut()
    assert [record.flags for record in proxy.records] == [flag]
    await eventually(lambda: not server.open, "the endpoint's connection ends")


async def test_a_slow_reader_pauses_the_endpoint(proxy: Proxy, server: Server, client: Client) -> None:
    size = 16 * 1024 * 1024
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    server.serve = flood
    connection = await ask(client, await serve(proxy, server.address))
    connection.reader._limit = 1024  # type: ignore[attr-defined]  # reads no more than it is asked for
    await connection.answer(body=False)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < size

    received = 0
    connection.writer.write_eof()
    while data := await asyncio.wait_for(connection.reader.read(1 << 20), 5.0):
        received += len(data)
    assert received == size


async def test_no_more_tunnels_than_connections_are_allowed(
    proxy: Proxy, server: Server, client: Client, eventually: Eventually
) -> None:
    address = await serve(proxy, server.address, options={"thresholds": Thresholds(max_requests=1)})
    first = await ask(client, address)
    assert (await first.answer(body=False)).status == 200
    second = await ask(client, address)
    answer = await second.answer()
    assert (answer.status, answer.get(b"x-envoy-overloaded")) == (503, b"true")
    first.writer.write_eof()
    await first.closed()
    third = await ask(client, address)
    assert (await third.answer(body=False)).status == 200


# on to a proxy


async def test_without_connect_config_it_goes_on_to_a_proxy(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    before = b"?"

    async def grant(incoming: Incoming) -> None:
        nonlocal before
        try:
            before = await asyncio.wait_for(incoming.reader.read(10), 0.1)
        except TimeoutError:
            before = b""
        await incoming.raw(b"HTTP/1.1 200 Granted\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\nfirst")
        await incoming.raw((await incoming.reader.readexactly(5)).upper())
        incoming.close()

    origin.handler = grant
    connection = await ask(client, await serve(proxy, origin.address, tunnels(end_connect=False)), b"early")
    answer = await connection.answer(body=False)

    assert (answer.status, answer.get(b"x-two"), answer.get(b"content-length")) == (200, b"2", None)
    assert before == b"", "what came before the answer waited for it"
    assert await connection.closed() == b"firstEARLY"
    await connection.close()
    (request,) = origin.requests
    assert request.start == b"CONNECT db.example:5432 HTTP/1.1"
    assert (request.get(b"host"), request.get(b"upgrade")) == (b"db.example:5432", None)
    await eventually(lambda: proxy.records, "it is recorded")
    assert proxy.worker.cluster("up").counts.cx_active == 0


async def test_what_the_proxy_refuses_is_an_answer_and_nothing_follows(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def refuse(incoming: Incoming) -> None:
        await incoming.answer(407, b"who are you?")

    origin.handler = refuse
    address = await serve(proxy, origin.address, tunnels(end_connect=False))
    connection = await ask(client, address, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (407, b"who are you?")
    assert await connection.closed() == b""
    assert [request.start for request in origin.requests] == [ASK.split(b"\r\n")[0]]


# HTTP/2


async def open_tunnel(h2_client: H2Client, address: Address) -> tuple[H2Peer, Stream]:
    peer = await h2_client.connect(address)
    stream = peer.open(FIELDS, end=False)
    await peer.until(lambda: stream.fields, "the answer")
    return peer, stream


async def test_a_stream_of_http_2_is_a_tunnel(
    proxy: Proxy, server: Server, h2_client: H2Client, eventually: Eventually
) -> None:
    address = await serve(proxy, server.address, tunnels(), forward_to("up"))
    peer, stream = await open_tunnel(h2_client, address)
    assert (stream.status, stream.get(b"content-length"), stream.ended) == (200, None, False)

    await peer.send(stream, b"hello")
    await peer.until(lambda: stream.body == b"hello", "it is said back")
    await peer.send(stream, b"x" * 500_000, end=True)
    await peer.until(lambda: stream.ended, "both ends")
    assert bytes(stream.body) == b"hello" + b"x" * 500_000 + b"bye"

    await eventually(lambda: proxy.records, "it is recorded")
    (record,) = proxy.records
    assert (record.method, record.protocol, record.status, record.flags) == (b"CONNECT", "HTTP/2", 200, "")
    assert (record.bytes_received, record.bytes_sent) == (500_005, 500_008)
    counts = proxy.worker.cluster("up").counts
    await eventually(lambda: counts.cx_active == 0, "the endpoint's connection is closed")


async def test_over_http_2_too_the_server_may_end_first(proxy: Proxy, server: Server, h2_client: H2Client) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        server.heard = await reader.read()

    server.serve = greet
    peer, stream = await open_tunnel(h2_client, await serve(proxy, server.address))
    await peer.until(lambda: stream.ended, "the server's end")
    assert (bytes(stream.body), stream.reset) == (b"hello", None)
    await peer.send(stream, b"thanks", end=True)
    while not server.heard:
        await asyncio.sleep(0.01)
    assert server.heard == b"thanks"


async def test_what_a_stream_brings_before_the_answer_waits_for_it(
    proxy: Proxy, origin: Origin, h2_client: H2Client
) -> None:
    go_on = asyncio.Event()
    before = b"?"

    async def late(incoming: Incoming) -> None:
        nonlocal before
        try:
            before = await asyncio.wait_for(incoming.reader.read(10), 0.1)
        except TimeoutError:
            before = b""
        await incoming.raw(b"HTTP/1.1 200 OK\r\n\r\n")
        await incoming.raw((await incoming.reader.read()).upper())
        go_on.set()
        incoming.close()

    origin.handler = late
    peer = await h2_client.connect(await serve(proxy, origin.address, tunnels(end_connect=False)))
    stream = peer.open(FIELDS, end=False)
    await peer.send(stream, b"early", end=True)
    await peer.until(lambda: stream.ended, "the end")
    assert (before, bytes(stream.body)) == (b"", b"EARLY")


async def test_a_refused_stream_ends_and_leaves_the_others_alone(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    peer = await h2_client.connect(await serve(proxy, origin.address, forward_to("up")))
    for _ in range(120):  # more than may be open at once
        stream = peer.open(FIELDS, end=False)
        await peer.until(lambda stream=stream: stream.ended, "the answer")
        assert stream.status == 403
    answer = await peer.answer(peer.open(get()))
    assert answer.status == 200
    assert len(origin.requests) == 1


async def test_a_reset_of_the_endpoint_is_connect_error(proxy: Proxy, server: Server, h2_client: H2Client) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    server.serve = break_off
    peer, stream = await open_tunnel(h2_client, await serve(proxy, server.address))
    await peer.send(stream, b"x")
    await peer.until(lambda: stream.reset is not None, "the reset")
    assert stream.reset == h2.errors.ErrorCodes.CONNECT_ERROR


async def test_a_stream_that_is_reset_resets_the_endpoint(
    proxy: Proxy, server: Server, h2_client: H2Client, eventually: Eventually
) -> None:
    peer, stream = await open_tunnel(h2_client, await serve(proxy, server.address))
    await peer.send(stream, b"x")
    await peer.until(lambda: stream.body, "it works")
    peer.reset(stream)
    await eventually(lambda: not server.open, "the endpoint's connection ends")
    assert isinstance(server.lost, ConnectionResetError)


async def test_headers_in_a_tunnel_end_it(proxy: Proxy, server: Server, h2_client: H2Client) -> None:
    peer, stream = await open_tunnel(h2_client, await serve(proxy, server.address))
    peer.h2.send_headers(stream.id, [(b"x", b"1")], end_stream=True)
    peer.flush()
    await peer.until(lambda: stream.reset is not None, "RFC 9113 8.5")
    assert stream.reset == h2.errors.ErrorCodes.PROTOCOL_ERROR


async def test_it_goes_on_to_a_proxy_of_http_2(
    proxy: Proxy, h2_origin: H2Origin, client: Client, h2_client: H2Client
) -> None:
    async def grant(peer: H2Peer, stream: Stream) -> None:
        if stream.get(b":authority") == b"no.example:1":
            peer.send_head(stream, [(b":status", b"403")], end=True)
            return
        peer.send_head(stream, [(b":status", b"200"), (b"x-two", b"2")])
        await peer.until(lambda: stream.ended, "the client's end")
        await peer.send(stream, bytes(stream.body).upper(), end=True)

    h2_origin.handler = grant
    options = {"protocol": Protocol.HTTP2}
    address = await serve(proxy, h2_origin.address, tunnels(end_connect=False), options=options)

    connection = await ask(client, address)
    answer = await connection.answer(body=False)
    assert (answer.status, answer.get(b"x-two")) == (200, b"2")
    await connection.send(b"one")
    connection.writer.write_eof()
    assert await connection.closed() == b"ONE"

    peer, stream = await open_tunnel(h2_client, address)
    await peer.send(stream, b"two", end=True)
    await peer.until(lambda: stream.ended, "the end")
    assert bytes(stream.body) == b"TWO"
    assert [request.fields[:2] for request in h2_origin.requests] == [FIELDS, FIELDS]

    refused = await client.connect(address)
    assert (await refused.ask(ASK.replace(b"db.example:5432", b"no.example:1"))).status == 403
    assert len(h2_origin.peers) == 1, "tunnels share the connection, and leave it behind"
