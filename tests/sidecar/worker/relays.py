"""What relayed connections are tried with: an upstream whose side a test plays itself, and configurations for one hop
or two with mutual TLS between."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

from mesh.records import Workload
from sidecar.config.cluster import Cluster, Service, UpstreamTls
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Listener, Tcp, TcpTarget, TransportMatch
from sidecar.config.messages import Applied
from sidecar.config.snapshot import Node
from tests.sidecar.net.authority import Authority, Leaf
from tests.sidecar.worker.peers import Connection
from tests.sidecar.worker.proxy import Proxy, cluster

CALLER = "spiffe://cluster.local/ns/default/sa/caller"
STORE = "spiffe://cluster.local/ns/default/sa/store"
SERVICE = Service("store.default.svc.cluster.local", "store", "default")
DEADLINE_S = 5.0


class Upstream:
    """Accepts connections and hands them to the test, which says what happens on them."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 0)
        self._accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self._connections: list[Connection] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> "Upstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._connections.append(connection)
        self._accepted.put_nowait(connection)

    async def accepted(self) -> Connection:
        """The next connection."""
        return await asyncio.wait_for(self._accepted.get(), DEADLINE_S)

    @property
    def count(self) -> int:
        return len(self._connections)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._server.wait_closed()


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    running = await Upstream().start()
    try:
        yield running
    finally:
        await running.close()


def tcp_chain(*targets: str, transport: TransportMatch = TransportMatch.ANY, **options: object) -> FilterChain:
    names = tuple(TcpTarget(name) for name in targets)
    return FilterChain(transport, tcp=Tcp(names, **options))  # type: ignore[arg-type]


def relay(address: Address, *targets: str, direction: Direction = Direction.OUTBOUND, **options: object) -> Listener:
    """A listener that relays whatever comes."""
    return Listener("tcp", address, direction, (tcp_chain(*targets, **options),))  # type: ignore[arg-type]


async def serve(proxy: Proxy, *clusters: Cluster, **options: object) -> Address:
    """One plaintext hop to the first of `clusters`."""
    address = proxy.bind()
    listener = relay(address, clusters[0].name, **options)
    answer = await proxy.apply(listeners=(listener,), clusters=clusters)
    assert isinstance(answer, Applied), answer
    return address


async def serve_pair(client: Proxy, server: Proxy, authority: Authority, app: Address) -> Address:
    """Two hops with mutual TLS between; the address where the caller's application connects."""
    inner = server.bind()
    tls = DownstreamTls("default", "ROOTCA", require_client_certificate=True, trust_domains=("cluster.local",))
    chain = FilterChain(TransportMatch.TLS, tls=tls, tcp=Tcp((TcpTarget("inbound|6379||"),)))
    answer = await server.apply(
        node=Node(id="sidecar~store", workload=Workload(name="store-v1", namespace="default", principal=STORE)),
        listeners=(Listener("virtualInbound", inner, Direction.INBOUND, (chain,), detect_tls=True),),
        clusters=(cluster("inbound|6379||", app, service=SERVICE),),
        certificates=(authority.issue(Leaf(uris=(STORE,))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    outer = client.bind()
    name = f"outbound|6379||{SERVICE.host}"
    workload = Workload("store-v1", "default", "store", "v1", "store", "v1", "laptop", STORE)
    upstream_tls = UpstreamTls(sni="outbound_.6379_._store", certificate="default", validation="ROOTCA", sans=(STORE,))
    answer = await client.apply(
        node=Node(id="sidecar~caller", workload=Workload(name="caller-v1", namespace="default", principal=CALLER)),
        listeners=(relay(outer, name),),
        clusters=(Cluster(name, endpoints=(Endpoint(inner, workload=workload),), tls=upstream_tls, service=SERVICE),),
        certificates=(authority.issue(Leaf(uris=(CALLER,))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    return outer


def reset(connection: Connection) -> None:
    """End a connection with a reset."""
    sock = connection.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.writer.transport.abort()
