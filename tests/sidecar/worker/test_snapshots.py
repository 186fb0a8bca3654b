"""Snapshots replace each other whole, under load, without losing anything; what can not serve is refused."""

import asyncio
from dataclasses import replace

import pytest

from sidecar.config.cluster import Discovery, UpstreamTls
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied, Drained, Growth, Metrics, Refused
from sidecar.config.route import (
    DirectResponse,
    HeaderEdits,
    MatchKind,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
)
from sidecar.config.secret import Certificate, TrustAnchors
from tests.sidecar.worker.peers import Client, Gate, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener


async def serve(proxy: Proxy, origin: Origin) -> Address:
    """Where every request goes to the origin."""
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    return address


async def test_a_hundred_changes_under_load_lose_nothing(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    listener = plain_listener("in", address, everything(forward_to("up")))
    await proxy.apply(clusters=(cluster("up", origin.address),), listeners=(listener,))
    changing = True
    answers: list[int] = []

    async def load() -> None:
        connection = await client.connect(address)
        while changing:
            answers.append((await connection.get()).status)

    loads = [asyncio.get_running_loop().create_task(load()) for _ in range(8)]
    for number in range(100):
        edits = HeaderEdits(request_set=(("x-rule", str(number)),))
        route = replace(forward_to("up"), headers=edits)
        answer = await proxy.apply(
            version=str(number),
            clusters=(cluster("up", origin.address), cluster(f"other-{number}")),
            listeners=(plain_listener("in", address, everything(route)),),
        )
        assert isinstance(answer, Applied)
        await asyncio.sleep(0.001)
    changing = False
    await asyncio.gather(*loads)

    assert set(answers) == {200}
    assert len(answers) > 100
    assert origin.connections <= 8, "a pool did not survive a change of routes"
    await (await client.connect(address)).get()  # on a busy machine none may have begun since the last change
    assert origin.requests[-1].get(b"x-rule") == b"99"


async def test_a_request_keeps_the_rules_that_it_began_with(proxy: Proxy, origin: Origin, client: Client) -> None:
    go_on = asyncio.Event()

    async def gate(incoming: Incoming) -> None:
        await go_on.wait()
        await incoming.answer(200, b"old")

    origin.handler = gate
    address = await serve(proxy, origin)
    connection = await client.connect(address)
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)
    await proxy.apply(
        clusters=(),
        listeners=(plain_listener("in", address, everything(Route("d", RouteMatch(), DirectResponse(503)))),),
    )
    go_on.set()

    assert (await connection.answer()).body == b"old"
    assert (await connection.get()).status == 503


async def test_endpoints_come_and_go(proxy: Proxy, origin: Origin, client: Client) -> None:
    second = Origin()
    await second.start()
    second.handler = answering(200, b"second")
    address = proxy.bind()
    listener = plain_listener("in", address, everything(forward_to("up")))
    await proxy.apply(clusters=(cluster("up", origin.address),), listeners=(listener,))
    connection = await client.connect(address)
    assert (await connection.get()).body == b"ok"

    await proxy.apply(clusters=(cluster("up", second.address),))
    assert (await connection.get()).body == b"second"
    await proxy.apply(clusters=(cluster("up"),))
    assert (await connection.get()).status == 503
    await proxy.apply(clusters=(cluster("up", origin.address),))
    assert (await connection.get()).body == b"ok"
    await second.close()


async def test_only_the_changed_listener_drains(proxy: Proxy, origin: Origin, client: Client) -> None:
    one, other = proxy.bind(), proxy.bind()
    table = everything(forward_to("up"))
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("one", one, table), plain_listener("other", other, table)),
    )
    changed, kept = await client.connect(one), await client.connect(other)
    await changed.get()
    await kept.get()

    await proxy.apply(
        listeners=(plain_listener("one", one, table, idle_timeout_s=99.0), plain_listener("other", other, table))
    )

    assert await changed.closed() == b""
    assert (await kept.get()).status == 200
    assert (await (await client.connect(one)).get()).status == 200


async def test_a_removed_listener_finishes_its_requests(proxy: Proxy, origin: Origin, client: Client) -> None:
    gate = origin.handler = Gate()
    address = await serve(proxy, origin)
    connection = await client.connect(address)
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)
    await proxy.apply(listeners=())
    gate.open()

    answer = await connection.answer()
    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    assert await connection.closed() == b""


def refusals(address: Address) -> dict[str, tuple[dict[str, object], str, str]]:
    """What is wrong, and resource and path that the refusal must name."""
    good = plain_listener("in", address, everything(forward_to("up")))
    secure = FilterChain(TransportMatch.TLS, Http(routes=everything()), DownstreamTls("default", "ROOTCA"))
    broken = Certificate("default", "no certificate", "no key")
    edits = HeaderEdits(request_set=(("host", "x"),))
    bad_regex = RouteMatch(StringMatch(MatchKind.REGEX, "("))
    return {
        "an address without a socket": (
            {"listeners": (plain_listener("in", Address("127.0.0.1", 1), everything()),)},
            "listeners/in",
            "address",
        ),
        "two listeners of one name": ({"listeners": (good, good)}, "listeners/in", "name"),
        "two listeners at one address": (
            {"listeners": (good, replace(good, name="other"))},
            "listeners/other",
            "address",
        ),
        "routes that are missing": (
            {
                "listeners": (
                    Listener(
                        "in", address, Direction.INBOUND, (FilterChain(TransportMatch.ANY, Http(route_name="gone")),)
                    ),
                )
            },
            "listeners/in",
            "filter_chains[0].rds",
        ),
        "a certificate that is missing": (
            {"listeners": (Listener("in", address, Direction.INBOUND, (secure,)),)},
            "listeners/in",
            "filter_chains[0].transport_socket",
        ),
        "a certificate that is none": (
            {
                "listeners": (Listener("in", address, Direction.INBOUND, (secure,)),),
                "certificates": (broken,),
                "trust_anchors": (TrustAnchors("ROOTCA", "none"),),
            },
            "listeners/in",
            "filter_chains[0].transport_socket",
        ),
        "a cluster's trust anchors that are missing": (
            {"clusters": (cluster("up", tls=UpstreamTls(validation="ROOTCA")),)},
            "clusters/up",
            "transport_socket",
        ),
        "two clusters of one name": ({"clusters": (cluster("up"), cluster("up"))}, "clusters/up", "name"),
        "a header edit that can not be": (
            {"listeners": (plain_listener("in", address, everything(replace(forward_to("up"), headers=edits))),)},
            "listeners/in/filter_chains[0]",
            "virtual_hosts[all].routes[0].request_set[host]",
        ),
        "an expression that is none": (
            {"listeners": (plain_listener("in", address, everything(Route("r", bad_regex, DirectResponse(200)))),)},
            "listeners/in/filter_chains[0]",
            "virtual_hosts",
        ),
        "a status that is none": (
            {"listeners": (plain_listener("in", address, everything(Route("r", RouteMatch(), DirectResponse(99)))),)},
            "listeners/in/filter_chains[0]",
            "virtual_hosts[all].routes[0]",
        ),
    }


@pytest.mark.parametrize("what", list(refusals(Address("127.0.0.1", 2))))
async def test_what_can_not_serve_is_refused_and_the_last_good_goes_on(
    proxy: Proxy, origin: Origin, client: Client, what: str
) -> None:
    address = await serve(proxy, origin)
    changes, resource, path = refusals(address)[what]
    connection = await client.connect(address)

    answer = await proxy.apply(**changes)

    assert isinstance(answer, Refused)
    assert answer.resource == resource
    assert answer.path.startswith(path)
    assert answer.reason
    assert "no key" not in answer.reason
    assert (await connection.get()).status == 200
    assert (await (await client.connect(address)).get()).status == 200


async def test_routes_by_name_are_shared_and_swapped(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    listener = Listener(
        "out", address, Direction.OUTBOUND, (FilterChain(TransportMatch.ANY, Http(route_name="outbound")),)
    )

    def table(status: int) -> RouteConfiguration:
        route = Route("d", RouteMatch(), DirectResponse(status))
        return RouteConfiguration("outbound", (VirtualHost("all", ("*",), (route,)),))

    await proxy.apply(listeners=(listener,), routes=(table(201),))
    connection = await client.connect(address)
    assert (await connection.get()).status == 201
    await proxy.apply(routes=(table(202),))
    assert (await connection.get()).status == 202, "the connection was not kept, or the table not swapped"


async def test_draining_finishes_what_is_under_way(proxy: Proxy, origin: Origin, client: Client) -> None:
    gate = origin.handler = Gate()
    address = await serve(proxy, origin)
    idle, busy = await client.connect(address), await client.connect(address)
    await busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)

    draining = asyncio.get_running_loop().create_task(proxy.worker.drain(5.0))
    assert await idle.closed() == b""
    gate.open()
    answer = await busy.answer()
    await draining

    assert (answer.status, answer.get(b"connection")) == (200, b"close")
    assert proxy.messages[-1] == Drained(0)


async def test_draining_cuts_what_takes_too_long(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def never(incoming: Incoming) -> None:
        await asyncio.Event().wait()

    origin.handler = never
    address = await serve(proxy, origin)
    busy = await client.connect(address)
    await busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)

    await proxy.worker.drain(0.1)

    assert await busy.closed() == b""
    assert proxy.messages[-1] == Drained(1)


async def test_a_dns_cluster_is_resolved_before_it_serves(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    named = Endpoint(Address("localhost", origin.address.port))
    await proxy.apply(
        clusters=(replace(cluster("up"), discovery=Discovery.DNS, endpoints=(named,)),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )

    assert (await (await client.connect(address)).get()).status == 200
    await proxy.apply(clusters=())


async def test_metrics_of_clusters_and_listeners(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = await serve(proxy, origin)
    connection = await client.connect(address)
    for _ in range(3):
        await connection.get()
    proxy.messages.clear()

    proxy.worker.flush()
    proxy.worker.flush()

    counters: dict[str, int] = {}
    for message in proxy.messages:
        if isinstance(message, Metrics):
            for growth in message.counters:
                counters[growth.name] = counters.get(growth.name, 0) + growth.value
    assert counters["envoy_cluster_upstream_rq_total"] == 3
    assert counters["envoy_cluster_upstream_cx_total"] == 1
    assert counters["envoy_listener_downstream_cx_total"] == 1
    first = next(message for message in proxy.messages if isinstance(message, Metrics))
    assert ("envoy_cluster_name", "up") in first.counters[0].labels
    gauges = {reading.name: reading.value for reading in first.gauges}
    assert gauges["envoy_cluster_upstream_cx_active"] == 1
    assert gauges["envoy_listener_downstream_cx_active"] == 1
    assert sum(series.requests for series in first.http) == 3
    assert isinstance(first.counters[0], Growth)


async def test_counts_wait_in_the_worker_while_the_agent_does_not_read(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    address = proxy.bind()
    routes = everything(forward_to("a"))
    await proxy.apply(clusters=(cluster("a", origin.address),), listeners=(plain_listener("l", address, routes),))
    proxy.agent_is_behind = True
    before = len(proxy.messages)
    assert (await (await client.connect(address)).get()).status == 200
    proxy.worker.flush()
    assert len(proxy.messages) == before
    proxy.agent_is_behind = False
    proxy.worker.flush()
    metrics = next(each for each in proxy.messages[before:] if isinstance(each, Metrics))
    assert sum(series.requests for series in metrics.http) == 1


async def test_inspection(proxy: Proxy, origin: Origin, client: Client) -> None:
    import json

    address = await serve(proxy, origin)
    connection = await client.connect(address)
    await connection.get()

    proxy.worker.inspect(1, "clusters")
    proxy.worker.inspect(2, "listeners")

    clusters, listeners = (json.loads(message.json) for message in proxy.messages[-2:])  # type: ignore[union-attr]
    (status,) = clusters["cluster_statuses"]
    assert status["name"] == "up"
    assert status["host_statuses"][0]["address"]["socket_address"]["port_value"] == origin.address.port
    (listener,) = listeners["listener_statuses"]
    assert (listener["name"], listener["connections"]) == ("in", 1)
