"""Connections that are relayed as bytes: both directions and their ends, the slower side, who can not be reached."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from sidecar.config.cluster import Cluster, Thresholds
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, FilterChain, Http, Listener, Tcp, TcpTarget, TransportMatch
from sidecar.config.messages import AccessLog, Applied, Metrics
from tests.sidecar.listeners.test_client_hello import of_openssl
from tests.sidecar.net.authority import Authority
from tests.sidecar.worker.peers import Client
from tests.sidecar.worker.proxy import Proxy, cluster, everything, listening_socket, running_proxy
from tests.sidecar.worker.relays import CALLER, Upstream, relay, reset, serve, serve_pair, tcp_chain, upstream

Eventually = Callable[..., Awaitable[None]]
PROPAGATION_S = 0.1
"""How long an end may take through a hop."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def second() -> AsyncIterator[Proxy]:
    async with running_proxy() as running:
        yield running


@pytest.fixture
async def app() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


def entries(proxy: Proxy) -> list[dict[str, Any]]:
    """The access log so far."""
    proxy.worker.flush()
    found: list[dict[str, Any]] = []
    for message in proxy.messages:
        if isinstance(message, AccessLog):
            unpacker = msgpack.Unpacker()
            unpacker.feed(message.entries)
            found += [record for _, record in unpacker]
    return found


def counted(proxy: Proxy, name: str) -> int:
    """A counter's sum over its labels so far."""
    proxy.worker.flush()
    messages = [each for each in proxy.messages if isinstance(each, Metrics)]
    return sum(growth.value for each in messages for growth in each.counters if growth.name == name)


async def the_entry(proxy: Proxy, eventually: Eventually) -> dict[str, Any]:
    await eventually(lambda: len(entries(proxy)) == 1, "one entry")
    return entries(proxy)[0]


def unreachable() -> Address:
    """Nobody listens here."""
    sock, address = listening_socket()
    sock.close()
    return address


async def test_bytes_go_both_ways(proxy: Proxy, client: Client, app: Upstream, eventually: Eventually) -> None:
    address = await serve(proxy, cluster("app", app.address))
    near = await client.connect(address)
    far = await app.accepted()
    await near.send(b"question")
    assert await far.reader.readexactly(8) == b"question"
    await far.send(b"an answer")
    assert await near.reader.readexactly(9) == b"an answer"
    near.writer.close()
    assert await far.closed() == b""
    far.writer.close()
    entry = await the_entry(proxy, eventually)
    assert (entry["bytes_received"], entry["bytes_sent"], entry["response_flags"]) == (8, 9, "-")
    assert (entry["upstream_host"], entry["attempts"]) == (str(app.address), 1)


async def test_a_server_that_speaks_first_is_heard(proxy: Proxy, client: Client, app: Upstream) -> None:
    address = await serve(proxy, cluster("app", app.address))
    near = await client.connect(address)
    far = await app.accepted()
    await far.send(b"220 welcome\r\n")
    assert await near.reader.readexactly(13) == b"220 welcome\r\n"


async def test_what_is_said_while_dialling_is_kept_in_order(proxy: Proxy, client: Client, app: Upstream) -> None:
    address = await serve(proxy, cluster("app", app.address))
    said = bytes(range(256)) * 2048
    near = await client.connect(address)
    near.writer.write(said)
    near.writer.write_eof()
    far = await app.accepted()
    assert await far.closed() == said


async def across(hops: int, proxy: Proxy, second: Proxy, authority: Authority, app: Upstream) -> Address:
    """Where the application is reached, by one proxy or by two with mutual TLS between them."""
    if hops == 1:
        return await serve(proxy, cluster("app", app.address))
    return await serve_pair(second, proxy, authority, app.address)


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("who", ["client", "server"])
async def test_an_end_of_one_direction_leaves_the_other_open(
    proxy: Proxy, second: Proxy, client: Client, app: Upstream, authority: Authority, who: str, hops: int
) -> None:
    near = await client.connect(await across(hops, proxy, second, authority, app))
    far = await app.accepted()
    first, other = (near, far) if who == "client" else (far, near)
    await first.send(b"all of it")
    first.writer.write_eof()
    began = time.monotonic()
    assert await other.closed() == b"all of it"
    assert time.monotonic() - began < hops * PROPAGATION_S
    for piece in (b"much ", b"later"):
        await other.send(piece)
        assert await first.reader.readexactly(5) == piece
    other.writer.write_eof()
    assert await first.closed() == b""


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_reset_of_one_side_resets_the_other(
    proxy: Proxy,
    second: Proxy,
    client: Client,
    app: Upstream,
    authority: Authority,
    who: str,
    hops: int,
    eventually: Eventually,
) -> None:
    near = await client.connect(await across(hops, proxy, second, authority, app))
    far = await app.accepted()
    await near.send(b"x")
    await far.reader.readexactly(1)
    first, other = (near, far) if who == "client" else (far, near)
    began = time.monotonic()
    reset(first)
    assert await other.was_cut()
    assert time.monotonic() - began < hops * PROPAGATION_S
    for each in (proxy, second)[:hops]:
        entry = await the_entry(each, eventually)
        assert entry["response_flags"] == ("DC" if who == "client" else "UC")
        assert each.worker.listeners[0].connections == 0


async def test_a_slow_reader_slows_the_writer(proxy: Proxy, client: Client, app: Upstream) -> None:
    address = await serve(proxy, cluster("app", app.address))
    near = await client.connect(address)
    far = await app.accepted()
    near.reader._transport.pause_reading()  # type: ignore[attr-defined]
    chunk = bytes(1 << 16)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 28:
            far.writer.write(chunk)
            await asyncio.wait_for(far.writer.drain(), 0.5)
            sent += len(chunk)
    assert sent < 1 << 26, "kernel buffers and ours together"
    near.reader._transport.resume_reading()  # type: ignore[attr-defined]
    far.writer.write_eof()
    received = 0
    while data := await near.reader.read(1 << 20):
        received += len(data)
    assert received == sent + len(chunk)


async def test_megabytes_arrive_whole_through_two_hops(
    proxy: Proxy, second: Proxy, client: Client, app: Upstream, authority: Authority, eventually: Eventually
) -> None:
    address = await serve_pair(second, proxy, authority, app.address)
    near = await client.connect(address)
    far = await app.accepted()
    block = bytes(range(256)) * 4096

    async def echo() -> None:
        while data := await far.reader.read(1 << 16):
            far.writer.write(data)
            await far.writer.drain()
        far.writer.write_eof()

    async def ask() -> None:
        for _ in range(8):
            near.writer.write(block)
            await near.writer.drain()
        near.writer.write_eof()

    async with asyncio.TaskGroup() as group:
        group.create_task(echo())
        group.create_task(ask())
        received = bytearray()
        while data := await near.reader.read(1 << 16):
            received += data
    assert received == block * 8
    for each in (proxy, second):
        entry = await the_entry(each, eventually)
        assert (entry["bytes_received"], entry["bytes_sent"]) == (len(block) * 8, len(block) * 8)
        assert entry["response_flags"] == "-"
    assert entries(proxy)[0]["source_principal"] == CALLER
    assert entries(proxy)[0]["requested_server_name"] == "outbound_.6379_._store"


async def test_metrics_of_both_reporters_name_both_ends(
    proxy: Proxy, second: Proxy, client: Client, app: Upstream, authority: Authority
) -> None:
    address = await serve_pair(second, proxy, authority, app.address)
    near = await client.connect(address)
    far = await app.accepted()
    await near.send(b"12345")
    await far.reader.readexactly(5)
    for each, reporter, policy in ((second, "source", "unknown"), (proxy, "destination", "mutual_tls")):
        assert counted(each, "istio_tcp_received_bytes_total") == 5, "while the connection lives"
        (labels,) = {
            growth.labels
            for message in each.messages
            if isinstance(message, Metrics)
            for growth in message.counters
            if growth.name == "istio_tcp_connections_opened_total"
        }
        told = dict(labels)
        assert (told["reporter"], told["connection_security_policy"]) == (reporter, policy)
        assert told["source_principal"] == CALLER
        assert told["destination_workload"] == "store-v1"
        assert told["destination_service"] == "store.default.svc.cluster.local"


async def test_another_endpoint_is_tried(proxy: Proxy, client: Client, app: Upstream, eventually: Eventually) -> None:
    target = Cluster("app", endpoints=tuple(Endpoint(each) for each in (unreachable(), unreachable(), app.address)))
    address = await serve(proxy, target, max_connect_attempts=3)
    near = await client.connect(address)
    far = await app.accepted()
    far.writer.close()
    assert await near.closed() == b""
    near.writer.close()
    entry = await the_entry(proxy, eventually)
    assert entry["response_flags"] == "-"
    assert 1 <= entry["attempts"] <= 3


@pytest.mark.parametrize(
    ("make", "flags", "details"),
    [
        pytest.param(lambda: cluster("app"), "UH", "no_healthy_upstream", id="no endpoint"),
        pytest.param(
            lambda: cluster("app", unreachable()), "UF,URX", "upstream_connection_failure", id="nobody listens"
        ),
        pytest.param(
            lambda: cluster("app", unreachable(), thresholds=Thresholds(max_connections=0)),
            "UO",
            "upstream_max_connections_exceeded",
            id="too many connections",
        ),
        pytest.param(lambda: cluster("another"), "NC", "cluster_not_found", id="no such cluster"),
    ],
)
async def test_who_can_not_be_reached_is_told_by_flags(
    proxy: Proxy, client: Client, eventually: Eventually, make: Callable[[], Cluster], flags: str, details: str
) -> None:
    address = proxy.bind()
    answer = await proxy.apply(listeners=(relay(address, "app"),), clusters=(make(),))
    assert isinstance(answer, Applied)
    near = await client.connect(address)
    assert await near.closed() == b""
    entry = await the_entry(proxy, eventually)
    assert (entry["response_flags"], entry["response_code_details"]) == (flags, details)
    assert counted(proxy, "istio_tcp_connections_closed_total") == 1
    assert proxy.worker.cluster(make().name).counts.cx_active == 0
    assert proxy.worker.listeners[0].connections == 0


async def test_the_connection_limit_counts_what_is_open(
    proxy: Proxy, client: Client, app: Upstream, eventually: Eventually
) -> None:
    address = await serve(proxy, cluster("app", app.address, thresholds=Thresholds(max_connections=1)))
    first = await client.connect(address)
    far = await app.accepted()
    refused = await client.connect(address)
    assert await refused.closed() == b""
    assert (await the_entry(proxy, eventually))["response_flags"] == "UO"
    first.writer.close()
    far.writer.close()
    await eventually(lambda: proxy.worker.cluster("app").counts.cx_active == 0, "nothing open")
    await client.connect(address)
    await app.accepted()


async def test_silence_ends_a_connection(proxy: Proxy, client: Client, app: Upstream, eventually: Eventually) -> None:
    address = await serve(proxy, cluster("app", app.address), idle_timeout_s=0.3)
    near = await client.connect(address)
    far = await app.accepted()
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        await near.send(b".")
        await far.reader.readexactly(1)
    assert await near.closed() == b""
    assert time.monotonic() - began > 0.85
    assert (await the_entry(proxy, eventually))["response_code_details"] == "idle_timeout"


async def test_a_client_that_leaves_while_dialling_leaves_nothing(
    proxy: Proxy, client: Client, eventually: Eventually
) -> None:
    blocked = Address("10.255.255.1", 9)  # answers nothing
    address = await serve(proxy, cluster("app", blocked))
    near = await client.connect(address)
    await eventually(lambda: proxy.worker.listeners[0].connections == 1, "accepted")
    reset(near)
    await eventually(lambda: proxy.worker.listeners[0].connections == 0, "gone")
    assert (await the_entry(proxy, eventually))["response_flags"] in ("DC", "UF,URX")
    await eventually(lambda: proxy.worker.cluster("app").counts.cx_active == 0, "nothing open")


async def test_connections_are_shared_out_by_weight(
    proxy: Proxy, client: Client, app: Upstream, eventually: Eventually
) -> None:
    async with upstream() as other:
        address = proxy.bind()
        chain = FilterChain(TransportMatch.ANY, tcp=Tcp((TcpTarget("app", 9), TcpTarget("other", 1))))
        answer = await proxy.apply(
            listeners=(Listener("tcp", address, Direction.OUTBOUND, (chain,)),),
            clusters=(cluster("app", app.address), cluster("other", other.address)),
        )
        assert isinstance(answer, Applied)
        for _ in range(100):
            await client.connect(address)
        await eventually(lambda: app.count + other.count == 100, "all connected")
        assert 1 <= other.count <= 30


async def test_other_weights_and_clusters_leave_connections_alone(
    proxy: Proxy, client: Client, app: Upstream, eventually: Eventually
) -> None:
    address = await serve(proxy, cluster("app", app.address))
    near = await client.connect(address)
    far = await app.accepted()
    async with upstream() as other:
        await proxy.apply(
            listeners=(relay(address, "other"),),
            clusters=(cluster("app", app.address), cluster("other", other.address)),
        )
        await client.connect(address)
        await other.accepted()
        await near.send(b"still here")
        assert await far.reader.readexactly(10) == b"still here"


async def test_a_drain_waits_for_relayed_connections_and_then_cuts_them(
    proxy: Proxy, client: Client, app: Upstream, eventually: Eventually
) -> None:
    address = await serve(proxy, cluster("app", app.address))
    near = await client.connect(address)
    far = await app.accepted()
    drain = asyncio.create_task(proxy.worker.drain(0.5))
    await eventually(lambda: proxy.worker.draining, "it drains")
    await near.send(b"x")
    assert await far.reader.readexactly(1) == b"x"
    await drain
    assert await far.closed() == b""


async def test_a_listener_may_relay_some_and_read_others(proxy: Proxy, client: Client, app: Upstream) -> None:
    """Chains of both kinds on one listener: the rest of its tests are those of choosing."""
    address = proxy.bind()
    chains = (tcp_chain("app", transport=TransportMatch.TLS), tcp_chain("app", transport=TransportMatch.RAW))
    listener = Listener("tcp", address, Direction.OUTBOUND, chains, detect_tls=True)
    assert isinstance(await proxy.apply(listeners=(listener,), clusters=(cluster("app", app.address),)), Applied)
    near = await client.connect(address)
    await near.send(b"plain")
    far = await app.accepted()
    assert await far.reader.readexactly(5) == b"plain"


async def test_tls_is_passed_through_by_the_name_that_is_asked_for(proxy: Proxy, client: Client, app: Upstream) -> None:
    async with upstream() as other:
        address = proxy.bind()
        chains = (
            replace(tcp_chain("app", transport=TransportMatch.TLS), server_names=("a.example",)),
            replace(tcp_chain("other", transport=TransportMatch.TLS), server_names=("*.example",)),
        )
        listener = Listener("tls", address, Direction.GATEWAY, chains, detect_tls=True)
        answer = await proxy.apply(
            listeners=(listener,), clusters=(cluster("app", app.address), cluster("other", other.address))
        )
        assert isinstance(answer, Applied)
        for name, there in (("a.example", app), ("b.example", other)):
            hello = of_openssl(name)
            near = await client.connect(address)
            for piece in (hello[:7], hello[7:]):
                await near.send(piece)
            far = await there.accepted()
            assert await far.reader.readexactly(len(hello)) == hello, "not a byte of it is touched"
        for refused in (of_openssl("a.example.com"), of_openssl(None), b"GET / HTTP/1.1\r\n\r\n"):
            near = await client.connect(address)
            await near.send(refused)
            assert await near.closed() == b""
        assert (app.count, other.count) == (1, 1)
        assert proxy.worker.listeners[0].counts.cx_no_chain == 3


async def test_silence_at_a_port_of_unknown_protocol_means_that_the_server_speaks_first(
    proxy: Proxy, client: Client, app: Upstream
) -> None:
    address = proxy.bind()
    requests = FilterChain(
        TransportMatch.ANY, Http(routes=everything()), application_protocols=("http/1.0", "http/1.1", "h2c")
    )
    listener = Listener(
        "unknown",
        address,
        Direction.INBOUND,
        (requests, tcp_chain("app")),
        detect_http=True,
        detect_timeout_s=0.08,
        serve_undetected=True,
    )
    assert isinstance(await proxy.apply(listeners=(listener,), clusters=(cluster("app", app.address),)), Applied)

    async def greeted_after() -> float:
        began = time.monotonic()
        near = await client.connect(address)
        far = await app.accepted()
        await far.send(b"220 welcome\r\n")
        assert await near.reader.readexactly(13) == b"220 welcome\r\n"
        return time.monotonic() - began

    # The quickest of some: the machine may be busy with something else at one moment.
    assert min([await greeted_after() for _ in range(5)]) < 0.1
    near = await client.connect(address)
    await near.send(b"EHLO a\r\n")
    far = await app.accepted()
    assert await far.reader.readexactly(8) == b"EHLO a\r\n"
    near = await client.connect(address)
    assert (await near.get("/")).status == 404, "requests find their routes"
