"""From a rule to what a client sees: outlier detection takes requests to the next region, and back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from control.generate import TYPES, generate
from control.ir.address import Address as IrAddress
from control.ir.services import Endpoint
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.xds.configuration import Configuration
from sidecar.xds.kinds import Kind
from tests.control.translate.bookinfo import mesh, rule
from tests.control.translate.bookinfo import proxy as proxy_of
from tests.sidecar.worker.peers import Client, Origin, answering
from tests.sidecar.worker.proxy import Proxy, everything, forward_to, plain_listener
from tests.sidecar.xds.authority import TestAuthority
from tests.sidecar.xds.control_plane import ControlPlane
from tests.sidecar.xds.resources import anchors, pack

Eventually = Callable[..., Awaitable[None]]
HOST = "reviews.default.svc.cluster.local"
NAME = f"outbound|9080||{HOST}"
RULE = """
host: reviews
trafficPolicy:
  tls: {mode: DISABLE}
  loadBalancer:
    localityLbSetting: {enabled: true, failover: [{from: eu-west, to: eu-central}]}
  outlierDetection: {consecutive5xxErrors: 3, interval: 20ms, baseEjectionTime: TIME, maxEjectionPercent: 100}
"""


@pytest.fixture
async def origins() -> AsyncIterator[list[Origin]]:
    """In the client's own region, in the next, in any other."""
    running = [Origin() for _ in range(3)]
    for each in running:
        await each.start()
    yield running
    for each in running:
        await each.close()


def clusters(origins: list[Origin], ejected_for: str) -> tuple[Cluster, ...]:
    """What a client in eu-west is told of the service, decoded by its sidecar."""
    made = mesh(rule("DestinationRule", "reviews", RULE.replace("TIME", ejected_for)))
    service = made.services[HOST]
    regions = ("eu-west", "eu-central", "us-east")
    instances = tuple(
        Endpoint(IrAddress(origin.address.host, origin.address.port), locality=(region, "a", ""))
        for origin, region in zip(origins, regions, strict=True)
    )
    made = replace(made, services={**made.services, HOST: replace(service, endpoints={9080: instances})}, parts={})
    snapshot = generate(made, replace(proxy_of("details-v1"), region="eu-west", zone="a"))
    control_plane = ControlPlane(gateway=False)
    for short, url in TYPES.items():
        control_plane.has(Kind[short], *snapshot.resources[url].values())
    pem = TestAuthority().pem
    control_plane.has(Kind.SDS, *(pack(Kind.SDS, anchors(name, pem)) for name in snapshot.resources[TYPES["SDS"]]))
    configuration = control_plane.run()
    assert control_plane.nacks == []
    assert isinstance(configuration, Configuration)
    return tuple(each for each in configuration.clusters if each.name == NAME)


async def answers(client: Client, address: Address, count: int) -> list[int]:
    connection = await client.connect(address)
    return [(await connection.get()).status for _ in range(count)]


async def test_requests_go_to_the_next_region_while_the_own_one_fails(
    proxy: Proxy, origins: list[Origin], client: Client, eventually: Eventually
) -> None:
    near, next_one = origins[:2]
    address = proxy.bind()
    listener = plain_listener("in", address, everything(forward_to(NAME)))
    assert isinstance(await proxy.apply(clusters=clusters(origins, "10m"), listeners=(listener,)), Applied)
    assert await answers(client, address, 5) == [200] * 5
    assert [len(each.requests) for each in origins] == [5, 0, 0]

    near.handler = answering(503)
    assert await answers(client, address, 8) == [503] * 3 + [200] * 5
    assert [len(each.requests) for each in origins] == [8, 5, 0]
    next_one.handler = answering(500)
    assert await answers(client, address, 8) == [500] * 3 + [200] * 5
    assert [len(each.requests) for each in origins] == [8, 8, 5]

    near.handler = next_one.handler = answering(200)
    assert isinstance(await proxy.apply(clusters=clusters(origins, "1ms")), Applied)
    live = proxy.worker.cluster(NAME)
    assert live is not None
    await eventually(lambda: all(each.healthy for each in live.endpoints), "both are back")
    assert await answers(client, address, 5) == [200] * 5
    assert [len(each.requests) for each in origins] == [13, 8, 5]


async def test_clients_hear_of_it_when_every_region_fails(proxy: Proxy, origins: list[Origin], client: Client) -> None:
    address = proxy.bind()
    listener = plain_listener("in", address, everything(forward_to(NAME)))
    assert isinstance(await proxy.apply(clusters=clusters(origins, "10m"), listeners=(listener,)), Applied)
    for each in origins:
        each.handler = answering(500)
    assert await answers(client, address, 10) == [500] * 9 + [503]
    assert proxy.records[-1].flags == "UH"
