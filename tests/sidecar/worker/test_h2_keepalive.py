"""Upstreams that are silent: PINGs that ask whether they are there, the kernel's own questions, what follows."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sidecar.config.cluster import Balancing, Http2, Protocol, TcpKeepAlive
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied, Metrics
from sidecar.config.route import RetryOn, RetryPolicy
from tests.sidecar.worker.h2_peers import H2Client, H2Gate, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]

PINGS = Http2(ping_interval_s=0.1, ping_timeout_s=0.2)
SETTINGS_AND_ITS_ACK = b"\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0"


class Dead:
    """Takes connections, says its SETTINGS, then nothing any more, as a host does that lost its power."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 0)
        self.heard: list[bytearray] = []
        self.says = SETTINGS_AND_ITS_ACK
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        writer.write(self.says)
        try:
            while data := await reader.read(65536):
                heard += data
        except OSError:
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def dead() -> AsyncIterator[Dead]:
    made = Dead()
    await made.start()
    yield made
    await made.close()


async def serve(proxy: Proxy, *upstreams: Address, route: dict[str, Any] | None = None, **options: Any) -> Address:
    address = proxy.bind()
    options = {"protocol": Protocol.HTTP2, "http2": PINGS, "connect_timeout_s": 1.0} | options
    answer = await proxy.apply(
        clusters=(cluster("up", *upstreams, **options),),
        listeners=(plain_listener("in", address, everything(forward_to("up", **(route or {})))),),
    )
    assert isinstance(answer, Applied), answer
    return address


def pings(heard: bytes) -> int:
    """PINGs that ask, of what an upstream has heard."""
    return bytes(heard).count(b"\0\0\x08\6\0\0\0\0\0alive?!?")


def grown(proxy: Proxy, name: str) -> int:
    proxy.worker.flush()
    found = [growth for message in proxy.messages if isinstance(message, Metrics) for growth in message.counters]
    return sum(growth.value for growth in found if growth.name == name)


async def test_a_request_to_a_dead_upstream_is_answered_and_the_pool_is_clean(
    proxy: Proxy, dead: Dead, client: Client, eventually: Eventually
) -> None:
    connection = await client.connect(await serve(proxy, dead.address))
    answer = await connection.get()

    assert (answer.status, answer.body.endswith(b"connection termination")) == (503, True)
    (record,) = proxy.records
    assert (record.flags, record.details) == ("UC", "upstream_reset_before_response_started{connection_termination}")
    counts = proxy.worker.cluster("up").counts
    assert (counts.cx_active, counts.rq_active, counts.keepalive_timeout) == (0, 0, 1)
    assert pings(dead.heard[0]) == 1
    assert grown(proxy, "envoy_cluster_http2_keepalive_timeout") == 1


async def test_what_may_be_repeated_is_sent_to_another_endpoint(
    proxy: Proxy, dead: Dead, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    policy = RetryPolicy(frozenset({RetryOn.RESET}), attempts=1)
    balancing = Balancing.ROUND_ROBIN  # by chance, all four could miss the dead one
    address = await serve(proxy, dead.address, h2_origin.address, route={"retry": policy}, balancing=balancing)
    peer = await h2_client.connect(address)
    for _ in range(4):
        assert (await peer.answer(peer.open(get()))).status == 200
    assert dead.heard, "it was tried"
    posted = [await peer.answer(stream) for stream in [peer.open(get(method=b"POST")) for _ in range(6)]]
    assert {stream.status for stream in posted} <= {200, 503}
    assert {record.attempts for record in proxy.records if record.method == b"POST"} == {1}, "it might do harm"


async def test_an_upstream_that_answers_is_asked_again_and_again(
    proxy: Proxy, h2_origin: H2Origin, client: Client, eventually: Eventually
) -> None:
    gate = h2_origin.handler = H2Gate()
    http2 = Http2(ping_interval_s=0.05, ping_timeout_s=0.2)
    connection = await client.connect(await serve(proxy, h2_origin.address, http2=http2))
    asking = asyncio.ensure_future(connection.get())
    await asyncio.sleep(0.6)  # longer than interval and time-out together
    assert not asking.done()
    gate.open()
    assert (await asking).status == 200
    assert len(h2_origin.peers) == 1
    assert proxy.worker.cluster("up").counts.keepalive_timeout == 0


async def test_whatever_comes_shows_that_the_upstream_is_there(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    """Its answer to the PING may wait behind much else."""

    async def trickle(peer: H2Peer, stream: Stream) -> None:
        peer.h2.ping_received = None
        peer.send_head(stream, [(b":status", b"200"), (b"content-length", b"12")])
        for _ in range(12):
            await asyncio.sleep(0.05)
            peer.h2.send_data(stream.id, b"x")
            octets = peer.h2.data_to_send()
            peer.writer.write(octets.replace(b"\0\0\x08\6\1\0\0\0\0alive?!?", b""))

    h2_origin.handler = trickle
    http2 = Http2(ping_interval_s=0.05, ping_timeout_s=0.3)
    connection = await client.connect(await serve(proxy, h2_origin.address, http2=http2))
    assert (await connection.get()).body == b"x" * 12


async def test_without_an_interval_nobody_is_asked(
    proxy: Proxy, dead: Dead, client: Client, eventually: Eventually
) -> None:
    connection = await client.connect(await serve(proxy, dead.address, http2=Http2()))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: dead.heard, "the request arrives")
    await asyncio.sleep(0.4)
    assert pings(dead.heard[0]) == 0
    assert proxy.worker.cluster("up").counts.rq_active == 1


async def test_an_idle_connection_to_a_dead_upstream_is_gone_before_the_next_request(
    proxy: Proxy, h2_origin: H2Origin, client: Client, eventually: Eventually
) -> None:
    connection = await client.connect(await serve(proxy, h2_origin.address))
    assert (await connection.get()).status == 200
    peer = h2_origin.peers[0]
    peer.writer.transport.pause_reading()
    counts = proxy.worker.cluster("up").counts
    await eventually(lambda: counts.cx_active == 0, "the connection is given up")
    assert (await connection.get()).status == 200
    assert len(h2_origin.peers) == 2


async def test_the_kernel_is_told_to_ask(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(
        await serve(proxy, origin.address, protocol=Protocol.HTTP1, tcp_keepalive=TcpKeepAlive(30, 5, 3))
    )
    assert (await connection.get()).status == 200
    (endpoint,) = proxy.worker.cluster("up").endpoints
    (upstream,) = endpoint.pool._idle
    sock = upstream.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 5, 3]


# Limits of streams and connections


async def test_a_client_waits_when_so_much_of_its_request_is_unsent(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    """The cluster's buffer, not a fixed one; and a small one is left again."""
    size = 2 * 1024 * 1024
    go_on = asyncio.Event()

    async def greedy_later(peer: H2Peer, stream: Stream) -> None:
        if len(h2_origin.requests) > 1:
            await go_on.wait()
            peer.greedy = True
            peer.acknowledge(stream)
            peer.flush()
            await peer.until(lambda: stream.ended, "the request's end")
        peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.greedy = False
    h2_origin.handler = greedy_later
    address = await serve(proxy, h2_origin.address, http2=Http2(), buffer_bytes=1024)
    peer = await h2_client.connect(address)
    assert (await peer.answer(peer.open(get()))).status == 200, "there is a connection to the upstream"
    stream = peer.open(get(method=b"POST"), end=False)
    sending = asyncio.ensure_future(peer.send(stream, b"x" * size, end=True))
    await eventually(lambda: peer.h2.local_flow_control_window(stream.id) == 0, "the client is held")
    (upstream,) = proxy.worker.cluster("up").endpoints[0].pool._shared  # type: ignore[attr-defined]
    assert 1024 < upstream.codec.queued(3) <= 256 * 1024, "what the client may send ahead, and no more"
    assert not sending.done()
    go_on.set()
    await sending
    assert (await peer.answer(stream)).status == 200
    assert len(h2_origin.requests[1].body) == size


async def test_a_small_buffer_for_answers_is_left_again(proxy: Proxy, origin: Origin, h2_client: H2Client) -> None:
    size = 1024 * 1024
    body = b"y" * size

    async def answer(incoming: Any) -> None:
        await incoming.answer(200, body)

    origin.handler = answer
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up")), buffer_bytes=1024),),
    )
    peer = await h2_client.connect(address)
    peer.greedy = False
    stream = peer.open(get())
    while len(stream.body) < 65_535:
        await asyncio.sleep(0.01)
    peer.greedy = True
    peer.acknowledge(stream)
    peer.flush()
    assert len((await peer.answer(stream)).body) == size


async def test_no_more_streams_on_a_connection_than_the_cluster_says(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    gate = h2_origin.handler = H2Gate()
    peer = await h2_client.connect(await serve(proxy, h2_origin.address, http2=Http2(max_streams=2)))
    streams = [peer.open(get()) for _ in range(5)]
    await eventually(lambda: len(h2_origin.requests) == 5, "all of them arrive")
    assert sorted(len(each.streams) for each in h2_origin.peers) == [1, 2, 2]
    gate.open()
    for stream in streams:
        assert (await peer.answer(stream)).status == 200


async def test_windows_towards_the_upstream_are_the_cluster_s(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    http2 = Http2(stream_window_bytes=70_000, connection_window_bytes=90_000)
    connection = await client.connect(await serve(proxy, h2_origin.address, http2=http2))
    assert (await connection.get()).status == 200
    (peer,) = h2_origin.peers
    assert peer.h2.remote_settings.initial_window_size == 70_000
    assert peer.h2.outbound_flow_control_window in range(88_000, 90_001)
