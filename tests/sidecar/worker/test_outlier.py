"""Endpoints that fail are left out, come back, and others carry their requests meanwhile; what is told of it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from sidecar.clusters.ejections import MAX_LINES
from sidecar.config.cluster import Balancing, Cluster
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.messages import Applied, Metrics
from sidecar.config.outlier import OutlierDetection
from sidecar.config.route import RetryOn, RetryPolicy
from tests.sidecar.worker.peers import Client, Origin, answering
from tests.sidecar.worker.proxy import Proxy, everything, forward_to, listening_socket, plain_listener
from tests.sidecar.worker.relays import Upstream, upstream
from tests.sidecar.worker.relays import serve as relaying

Eventually = Callable[..., Awaitable[None]]
QUICK = OutlierDetection(consecutive_5xx=3, interval_s=0.02, max_ejection_percent=100)
"""Swept often; who is out stays out for half a minute."""


@pytest.fixture
async def other() -> Any:
    server = Origin()
    await server.start()
    yield server
    await server.close()


def up(*addresses: Address, priorities: tuple[int, ...] = (), outlier: OutlierDetection | None = QUICK) -> Cluster:
    levels = priorities or (0,) * len(addresses)
    endpoints = tuple(Endpoint(at, priority=level) for at, level in zip(addresses, levels, strict=True))
    return Cluster(
        "up", endpoints=endpoints, balancing=Balancing.ROUND_ROBIN, outlier=outlier, panic_percent=0.0,
        connect_timeout_s=2.0,
    )  # fmt: skip


def nobodys() -> Address:
    """Where nobody listens."""
    sock, address = listening_socket()
    sock.close()
    return address


async def serve(proxy: Proxy, cluster: Cluster, **route: Any) -> Address:
    address = proxy.bind()
    listener = plain_listener("in", address, everything(forward_to("up", **route)))
    answer = await proxy.apply(clusters=(cluster,), listeners=(listener,))
    assert isinstance(answer, Applied), answer
    return address


def told(proxy: Proxy) -> tuple[dict[str, int], float]:
    """Counters so far, and the gauge as it was told last."""
    proxy.worker.flush()
    prefix = "envoy_cluster_outlier_detection_ejections_"
    counters: dict[str, int] = {}
    active = 0.0
    for message in proxy.messages:
        if isinstance(message, Metrics):
            for growth in message.counters:
                if growth.name.startswith(prefix):
                    name = growth.name.removeprefix(prefix)
                    counters[name] = counters.get(name, 0) + growth.value
            active = next((each.value for each in message.gauges if each.name == f"{prefix}active"), active)
    return counters, active


async def statuses(client: Client, address: Address, count: int) -> list[int]:
    connection = await client.connect(address)
    return [(await connection.get()).status for _ in range(count)]


async def test_of_two_the_one_that_fails_is_left_out_and_comes_back(
    proxy: Proxy, origin: Origin, other: Origin, client: Client, eventually: Eventually
) -> None:
    address = await serve(proxy, up(origin.address, other.address))
    origin.handler = answering(503)
    assert sorted(await statuses(client, address, 6)) == [200] * 3 + [503] * 3
    assert await statuses(client, address, 10) == [200] * 10
    assert len(origin.requests) == 3
    counters = {"detected_consecutive_5xx": 1, "enforced_consecutive_5xx": 1, "enforced_total": 1}
    assert told(proxy) == (counters, 1.0)

    # It is well again; what the configuration says of its time now is what counts.
    origin.handler = answering(200)
    shorter = replace(QUICK, base_ejection_s=0.001)
    assert isinstance(await proxy.apply(clusters=(up(origin.address, other.address, outlier=shorter),)), Applied)
    await eventually(lambda: told(proxy)[1] == 0.0, "it is back")
    assert await statuses(client, address, 10) == [200] * 10
    assert len(origin.requests) == 3 + 5
    assert told(proxy)[0] == counters


async def test_an_endpoint_that_is_out_stays_out_when_others_come_and_go(
    proxy: Proxy, origin: Origin, other: Origin, client: Client
) -> None:
    address = await serve(proxy, up(origin.address, other.address))
    origin.handler = answering(500)
    await statuses(client, address, 6)
    assert isinstance(await proxy.apply(clusters=(up(origin.address, other.address, nobodys()),)), Applied)
    assert isinstance(await proxy.apply(clusters=(up(origin.address, other.address),)), Applied)
    assert await statuses(client, address, 6) == [200] * 6
    # Nothing is detected any more: nobody is out.
    assert isinstance(await proxy.apply(clusters=(up(origin.address, other.address, outlier=None),)), Applied)
    assert sorted(await statuses(client, address, 6)) == [200] * 3 + [500] * 3


async def test_the_near_ones_are_out_and_the_far_ones_carry_their_requests(
    proxy: Proxy, origin: Origin, other: Origin, client: Client, eventually: Eventually
) -> None:
    cluster = up(origin.address, other.address, priorities=(0, 1))
    address = await serve(proxy, cluster)
    assert await statuses(client, address, 5) == [200] * 5
    assert (len(origin.requests), len(other.requests)) == (5, 0)
    origin.handler = answering(503)
    assert await statuses(client, address, 10) == [503] * 3 + [200] * 7
    assert (len(origin.requests), len(other.requests)) == (8, 7)
    origin.handler = answering(200)
    back = replace(cluster, outlier=replace(QUICK, base_ejection_s=0.001))
    assert isinstance(await proxy.apply(clusters=(back,)), Applied)
    await eventually(lambda: told(proxy)[1] == 0.0, "it is back")
    assert await statuses(client, address, 5) == [200] * 5
    assert (len(origin.requests), len(other.requests)) == (13, 7)


async def test_when_all_are_out_clients_hear_that_there_is_no_healthy_upstream(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    address = await serve(proxy, up(origin.address))
    origin.handler = answering(500)
    assert await statuses(client, address, 4) == [500, 500, 500, 503]
    record = proxy.records[-1]
    assert (record.flags, record.details) == ("UH", "no_healthy_upstream")


async def test_tries_that_fail_count_and_the_retry_goes_on(
    proxy: Proxy, origin: Origin, other: Origin, client: Client
) -> None:
    policy = RetryPolicy(frozenset({RetryOn.GATEWAY_ERROR}), attempts=1)
    address = await serve(proxy, up(origin.address, other.address), retry=policy)
    origin.handler = answering(503)
    assert await statuses(client, address, 12) == [200] * 12
    assert len(origin.requests) == 3


async def test_time_that_is_up_counts_as_an_error_of_a_gateway(
    proxy: Proxy, origin: Origin, other: Origin, client: Client
) -> None:
    gateway = OutlierDetection(
        consecutive_5xx=0, consecutive_gateway=2, enforcing_consecutive_gateway=100, max_ejection_percent=100
    )
    address = await serve(proxy, up(origin.address, other.address, outlier=gateway), timeout_s=0.05)

    async def silent(incoming: Any) -> None:
        await incoming.body()

    origin.handler = silent
    connections = [await client.connect(address) for _ in range(8)]
    answers = [(await each.get()).status for each in connections]
    assert (answers.count(504), answers.count(200)) == (2, 6)
    assert told(proxy)[0]["enforced_consecutive_gateway_failure"] == 1


async def test_connections_of_bytes_that_fail_count_too(proxy: Proxy, client: Client) -> None:
    nobody = nobodys()
    split = OutlierDetection(split=True, consecutive_local=2, interval_s=0.02, max_ejection_percent=100)
    async with upstream() as there:
        address = await relaying(proxy, up(nobody, there.address, outlier=split), max_connect_attempts=2)
        for _ in range(6):
            await echo_through(client, address, there)
        counters, active = told(proxy)
    assert (counters["enforced_consecutive_local_origin_failure"], active) == (1, 1.0)
    assert proxy.worker.cluster("up").counts.cx_connect_fail == 2


async def echo_through(client: Client, address: Address, there: Upstream) -> None:
    """A connection that is tried at another endpoint where one cannot be reached."""
    connection = await client.connect(address)
    await connection.send(b"x")
    accepted = await there.accepted()
    assert await accepted.reader.read(1) == b"x"
    await connection.close()


async def test_each_ejection_is_a_line_in_the_log_and_of_very_many_their_number(
    proxy: Proxy, client: Client, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    caplog.set_level(logging.INFO, "sidecar.clusters.ejections")
    nobodies = [nobodys() for _ in range(MAX_LINES + 5)]
    first = replace(QUICK, consecutive_5xx=1, interval_s=0.5)
    address = await serve(proxy, up(*nobodies, outlier=first))
    assert await statuses(client, address, len(nobodies)) == [503] * len(nobodies)
    lines = [each.getMessage() for each in caplog.records if each.name == "sidecar.clusters.ejections"]
    assert len(lines) == MAX_LINES
    assert "is ejected for 30 s by consecutive_5xx, 1 of 25 are out" in lines[0]
    await eventually(lambda: "cluster up: and 5 endpoints more" in caplog.messages, "their number")
