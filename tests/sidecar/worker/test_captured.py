"""Connections that the kernel redirected: who gets them, where they are taken on to, and what is told of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from sidecar.config.cluster import Cluster, Discovery, Protocol, Thresholds
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, FilterChain, Http, Listener, Tcp, TcpTarget, TransportMatch
from sidecar.config.messages import Applied
from tests.sidecar.worker.h2_peers import H2Client, H2Origin, get
from tests.sidecar.worker.peers import Connection, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to
from tests.sidecar.worker.redirected import Redirected, needs_namespaces
from tests.sidecar.worker.relays import Upstream, tcp_chain, upstream
from tests.sidecar.worker.test_relays import counted, entries, the_entry

Eventually = Callable[..., Awaitable[None]]
PASSTHROUGH = "PassthroughCluster"
pytestmark = needs_namespaces


@pytest.fixture(scope="module")
def namespace() -> Iterator[Redirected]:
    made = Redirected()
    yield made
    made.close()


@pytest.fixture
async def first() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


class Pod:
    """A worker to which the namespace's connections are redirected."""

    def __init__(self, proxy: Proxy, namespace: Redirected) -> None:
        self._proxy = proxy
        self._namespace = namespace
        self._writers: list[asyncio.StreamWriter] = []
        self.at = Address("0.0.0.0", namespace.port)
        self.at6 = Address("::", namespace.listening6.getsockname()[1])
        proxy.worker.listen((self.at,), [namespace.listening.dup().detach()])
        proxy.worker.listen((self.at6,), [namespace.listening6.dup().detach()])

    async def serve(self, *listeners: Listener, clusters: tuple[Cluster, ...]) -> None:
        answer = await self._proxy.apply(listeners=listeners, clusters=clusters)
        assert isinstance(answer, Applied), answer

    async def connect(self, to: Address) -> Connection:
        """As the pod's application."""
        sock = await asyncio.to_thread(self._namespace.connect, to)
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        self._writers.append(writer)
        return Connection(reader, writer)

    def virtual(self, *chains: FilterChain, hand_over: bool = True, at: Address | None = None) -> Listener:
        return Listener(
            "virtualOutbound" if at is None else "virtual6",
            at or self.at,
            Direction.OUTBOUND,
            chains or (tcp_chain(PASSTHROUGH),),
            original_destination=True,
            hand_over=hand_over,
        )

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def pod(proxy: Proxy, namespace: Redirected) -> AsyncIterator[Pod]:
    made = Pod(proxy, namespace)
    yield made
    await made.close()


def passthrough(**options: object) -> Cluster:
    return Cluster(PASSTHROUGH, discovery=Discovery.ORIGINAL, **options)  # type: ignore[arg-type]


def unbound(at: Address, *chains: FilterChain) -> Listener:
    return Listener(f"{at.host}_{at.port}", at, Direction.OUTBOUND, chains, bound=False)


async def test_what_no_listener_knows_goes_where_it_was_going(
    pod: Pod, proxy: Proxy, first: Upstream, eventually: Eventually
) -> None:
    await pod.serve(pod.virtual(), clusters=(passthrough(),))
    client = await pod.connect(first.address)
    server = await first.accepted()
    await server.send(b"220 speaking first\r\n")
    assert await client.reader.readexactly(20) == b"220 speaking first\r\n"
    client.writer.close()
    assert await server.reader.read() == b""
    server.writer.close()
    entry = await the_entry(proxy, eventually)
    assert entry["downstream_local_address"] == entry["upstream_host"] == str(first.address)
    assert entry["downstream_remote_address"].startswith("127.0.0.1:")
    assert entry["upstream_cluster"] == PASSTHROUGH


async def test_the_listener_of_just_the_address_comes_before_that_of_the_port(
    pod: Pod, first: Upstream, second: Upstream
) -> None:
    exactly, anywhere = Address("10.96.0.1", 3306), Address("0.0.0.0", 3306)
    await pod.serve(
        pod.virtual(),
        unbound(exactly, tcp_chain("exact")),
        unbound(anywhere, tcp_chain("any")),
        clusters=(passthrough(), cluster("exact", first.address), cluster("any", second.address)),
    )
    await pod.connect(exactly)
    await first.accepted()
    await pod.connect(Address("127.0.0.9", 3306))
    await second.accepted()
    assert (first.count, second.count) == (1, 1)


async def test_a_listener_that_is_gone_is_handed_nothing_and_its_connections_go_on(
    pod: Pod, first: Upstream, second: Upstream
) -> None:
    service = unbound(Address("127.0.0.1", second.address.port), tcp_chain("c"))
    clusters = (passthrough(), cluster("c", first.address))
    await pod.serve(pod.virtual(), service, clusters=clusters)
    client = await pod.connect(second.address)
    server = await first.accepted()
    await pod.serve(pod.virtual(), clusters=clusters)
    await client.send(b"still here")
    assert await server.reader.readexactly(10) == b"still here"
    await pod.connect(second.address)
    await second.accepted()


async def test_ipv6_is_redirected_likewise(pod: Pod, first: Upstream) -> None:
    await pod.serve(
        pod.virtual(),
        pod.virtual(at=pod.at6),
        unbound(Address("fd00::1", 80), tcp_chain("c")),
        clusters=(passthrough(), cluster("c", first.address)),
    )
    await pod.connect(Address("fd00::1", 80))
    await first.accepted()


async def test_what_was_going_to_the_listener_itself_is_refused_and_counted(
    pod: Pod, proxy: Proxy, eventually: Eventually
) -> None:
    await pod.serve(pod.virtual(), clusters=(passthrough(),))
    client = await pod.connect(Address("127.0.0.1", pod.at.port))
    assert await client.closed() == b""
    await eventually(lambda: counted(proxy, "remora_listener_cx_loop_total") == 1, "one loop")
    assert not entries(proxy)


async def test_chains_are_chosen_by_the_port_that_was_meant_and_the_application_sees_the_loop_address(
    pod: Pod, first: Upstream, second: Upstream
) -> None:
    """As the inbound listener of a pod has them: its own ports, and whatever else."""
    chains = (
        FilterChain(TransportMatch.ANY, tcp=Tcp((TcpTarget("declared"),)), destination_port=first.address.port),
        tcp_chain("InboundPassthroughCluster"),
    )
    await pod.serve(
        pod.virtual(*chains, hand_over=False),
        clusters=(
            Cluster("declared", discovery=Discovery.ORIGINAL, source_addresses=("::6", "127.0.0.6")),
            Cluster("InboundPassthroughCluster", discovery=Discovery.ORIGINAL),
        ),
    )
    await pod.connect(first.address)
    assert (await first.accepted()).writer.get_extra_info("peername")[0] == "127.0.0.6"
    await pod.connect(second.address)
    assert (await second.accepted()).writer.get_extra_info("peername")[0] == "127.0.0.1"


def http(to: str) -> FilterChain:
    return FilterChain(TransportMatch.ANY, Http(routes=everything(forward_to(to)), trust_forwarded=True))


async def test_requests_go_where_their_connection_was_going(
    pod: Pod, proxy: Proxy, origin: Origin, eventually: Eventually
) -> None:
    await pod.serve(pod.virtual(http(PASSTHROUGH)), clusters=(passthrough(),))
    client = await pod.connect(origin.address)
    for _ in range(2):
        assert (await client.get(host="nobody.example")).status == 200
    assert origin.connections == 1
    await eventually(lambda: len(proxy.records) == 2, "two records")
    assert proxy.records[0].upstream == str(origin.address)
    assert entries(proxy)[0]["downstream_local_address"] == str(origin.address)


async def test_a_cluster_that_goes_where_a_client_meant_to_needs_one_that_meant_something(
    proxy: Proxy, pod: Pod
) -> None:
    direct = proxy.bind()
    listener = Listener("direct", direct, Direction.OUTBOUND, (http(PASSTHROUGH),))
    await pod.serve(listener, clusters=(passthrough(),))
    reader, writer = await asyncio.open_connection(direct.host, direct.port)
    answer = await Connection(reader, writer).get()
    assert (answer.status, answer.body) == (503, b"no healthy upstream")
    writer.close()


async def test_requests_are_passed_on_in_the_protocol_that_they_came_in(
    pod: Pod, proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, namespace: Redirected, origin: Origin
) -> None:
    await pod.serve(pod.virtual(http(PASSTHROUGH)), clusters=(passthrough(protocol=Protocol.DOWNSTREAM),))
    assert (await (await pod.connect(origin.address)).get()).status == 200
    sock = await asyncio.to_thread(namespace.connect, h2_origin.address)
    peer = await h2_client.adopt(sock)
    assert (await peer.answer(peer.open(get("/")))).status == 200
    assert (origin.connections, h2_origin.open) == (1, 1)


async def test_more_destinations_than_connections_are_allowed_are_refused(
    pod: Pod, proxy: Proxy, first: Upstream, second: Upstream, eventually: Eventually
) -> None:
    await pod.serve(pod.virtual(), clusters=(passthrough(thresholds=Thresholds(max_connections=1)),))
    await pod.connect(first.address)
    await first.accepted()
    refused = await pod.connect(second.address)
    assert await refused.closed() == b""
    await eventually(lambda: [each["response_flags"] for each in entries(proxy)] == ["UO"], "one refused")
