"""Routes and filters as a client sees them: choices, edits, rewrites, redirects, injected trouble."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from mesh.records import HTTP_LABELS
from sidecar.config.cluster import Service
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction
from sidecar.config.messages import Applied, Metrics
from sidecar.config.route import (
    DirectResponse,
    Fault,
    Forward,
    HeaderEdits,
    HeaderMatch,
    MatchKind,
    Redirect,
    Route,
    RouteConfiguration,
    RouteMatch,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)
from tests.sidecar.worker.peers import Client, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]


async def serve(proxy: Proxy, origin: Origin, *routes: Route) -> Address:
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(*routes)),),
    )
    assert isinstance(answer, Applied), answer
    return address


def prefix(value: str) -> RouteMatch:
    return RouteMatch(StringMatch(MatchKind.PREFIX, value))


def to_up(**options: object) -> Forward:
    return Forward((WeightedCluster("up", 1),), **options)  # type: ignore[arg-type]


async def test_a_direct_response(proxy: Proxy, origin: Origin, client: Client) -> None:
    edits = HeaderEdits(response_set=(("x-from", "us"),))
    route = Route("d", RouteMatch(), DirectResponse(502, b"blocked"), headers=edits)
    connection = await client.connect(await serve(proxy, origin, route))

    answer = await connection.get()

    assert (answer.status, answer.body, answer.get(b"x-from")) == (502, b"blocked", b"us")
    assert (proxy.records[0].details, proxy.records[0].bytes_sent) == ("direct_response", 7)
    assert (await connection.get()).status == 502


async def test_a_head_request_gets_no_body_of_ours(proxy: Proxy, origin: Origin, client: Client) -> None:
    route = Route("d", RouteMatch(), DirectResponse(502, b"blocked"))
    connection = await client.connect(await serve(proxy, origin, route))
    await connection.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (await connection.answer(body=False)).get(b"content-length") == b"7"
    assert (await connection.get()).body == b"blocked"


@pytest.mark.parametrize(
    ("redirect", "match", "location"),
    [
        pytest.param(Redirect(path="/new"), prefix("/"), b"http://a.example:81/new?q", id="a path, the query stays"),
        pytest.param(Redirect(scheme="https"), prefix("/"), b"https://a.example:81/old/x?q", id="a scheme"),
        pytest.param(Redirect(host="b.example"), prefix("/"), b"http://b.example:81/old/x?q", id="a host"),
        pytest.param(Redirect(port=80), prefix("/"), b"http://a.example/old/x?q", id="the scheme's port is left out"),
        pytest.param(
            Redirect(prefix_rewrite="/new"), prefix("/old"), b"http://a.example:81/new/x?q", id="a rewritten prefix"
        ),
        pytest.param(
            Redirect(scheme="https", port=8443), prefix("/"), b"https://a.example:8443/old/x?q", id="scheme and port"
        ),
    ],
)
async def test_redirects(
    proxy: Proxy, origin: Origin, client: Client, redirect: Redirect, match: RouteMatch, location: bytes
) -> None:
    connection = await client.connect(await serve(proxy, origin, Route("r", match, redirect)))

    answer = await connection.get("/old/x?q", host="a.example:81")

    assert (answer.status, answer.get(b"location"), answer.body) == (301, location, b"")


@pytest.mark.parametrize(
    ("match", "options", "sent"),
    [
        pytest.param(prefix("/api/"), {"prefix_rewrite": "/"}, b"/v1?q", id="a prefix to the root"),
        pytest.param(prefix("/api"), {"prefix_rewrite": "/v2"}, b"/v2/v1?q", id="a prefix"),
        pytest.param(
            RouteMatch(StringMatch(MatchKind.EXACT, "/api/v1")), {"prefix_rewrite": "/x"}, b"/x?q", id="an exact path"
        ),
        pytest.param(prefix("/"), {"regex_rewrite": (r"/api/(v\d)", r"/\1/api")}, b"/v1/api?q", id="by expression"),
    ],
)
async def test_rewritten_targets(
    proxy: Proxy, origin: Origin, client: Client, match: RouteMatch, options: dict[str, object], sent: bytes
) -> None:
    connection = await client.connect(await serve(proxy, origin, Route("r", match, to_up(**options))))

    await connection.get("/api/v1?q")

    (request,) = origin.requests
    assert request.target == sent
    assert request.get(b"x-envoy-original-path") == b"/api/v1?q"
    assert proxy.records[0].url == b"/api/v1?q"


async def test_a_rewritten_host(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, forward_to("up", host_rewrite="other.example")))

    await connection.get()

    assert origin.requests[0].values(b"host") == [b"other.example"]
    assert proxy.records[0].authority == b"a.example"


async def test_header_edits_of_every_level(proxy: Proxy, origin: Origin, client: Client) -> None:
    origin.handler = answering(200, b"ok", "X-Up: 1", "X-Gone: 1")
    action = Forward((WeightedCluster("up", 1, HeaderEdits(request_add=(("x-cluster", "1"),))),))
    route = Route(
        "r",
        RouteMatch(),
        action,
        headers=HeaderEdits(
            request_set=(("x-route", "1"),),
            request_remove=("x-unwanted",),
            response_remove=("x-gone", "x-envoy-upstream-service-time"),
            response_add=(("x-added", "1"),),
        ),
    )
    connection = await client.connect(await serve(proxy, origin, route))

    answer = await connection.get("/", "X-Unwanted: 1", "X-Route: mine")

    (request,) = origin.requests
    assert request.values(b"x-route") == [b"1"]
    assert request.get(b"x-cluster") == b"1"
    assert request.get(b"x-unwanted") is None
    assert answer.get(b"x-up") == b"1"
    assert answer.get(b"x-gone") is None
    assert answer.get(b"x-envoy-upstream-service-time") is None
    assert answer.get(b"x-added") == b"1"


async def test_a_header_and_a_host_choose(proxy: Proxy, origin: Origin, client: Client) -> None:
    jason = RouteMatch(headers=(HeaderMatch("end-user", StringMatch(MatchKind.EXACT, "jason")),))
    table = RouteConfiguration(
        "local",
        (
            VirtualHost(
                "a", ("a.example",), (Route("v2", jason, DirectResponse(202)), Route("v1", RouteMatch(), to_up()))
            ),
            VirtualHost("b", ("*.b.example",), (Route("b", RouteMatch(), DirectResponse(203)),)),
        ),
    )
    address = proxy.bind()
    await proxy.apply(clusters=(cluster("up", origin.address),), listeners=(plain_listener("in", address, table),))
    connection = await client.connect(address)

    assert (await connection.get("/", "End-User: jason")).status == 202
    assert (await connection.get("/", "End-User: jane")).status == 200
    assert (await connection.get(host="x.B.example")).status == 203
    assert (await connection.get(host="elsewhere")).status == 404


async def test_weights_are_kept(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    second = Origin()
    await second.start()
    action = Forward((WeightedCluster("one", 80), WeightedCluster("two", 20)))
    await proxy.apply(
        clusters=(cluster("one", origin.address), cluster("two", second.address)),
        listeners=(plain_listener("in", address, everything(Route("r", RouteMatch(), action))),),
    )
    connection = await client.connect(address)
    for _ in range(1000):
        await connection.get()
    await second.close()

    # 99.99 % interval of a binomial distribution with n = 1000, p = 0.8
    assert 748 <= len(origin.requests) <= 848


async def test_an_injected_abort(proxy: Proxy, origin: Origin, client: Client) -> None:
    route = Route("r", RouteMatch(), to_up(), fault=Fault(abort_status=418, abort_percent=100))
    connection = await client.connect(await serve(proxy, origin, route))

    answer = await connection.get()

    assert (answer.status, answer.body) == (418, b"fault filter abort")
    assert proxy.records[0].flags == "FI"
    assert origin.requests == []


async def test_an_injected_delay_holds_the_body_too(proxy: Proxy, origin: Origin, client: Client) -> None:
    route = Route("r", RouteMatch(), to_up(), fault=Fault(delay_s=0.1, delay_percent=100))
    connection = await client.connect(await serve(proxy, origin, route))
    began = time.monotonic()
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    await connection.send(b"def")

    answer = await connection.answer()

    assert answer.status == 200
    assert time.monotonic() - began >= 0.1
    assert origin.requests[0].body == b"abcdef"
    assert proxy.records[0].flags == "DI"


async def test_a_client_that_leaves_during_a_delay_is_forgotten(
    proxy: Proxy, origin: Origin, client: Client, eventually: object
) -> None:
    route = Route("r", RouteMatch(), to_up(), fault=Fault(delay_s=0.05, delay_percent=100))
    connection = await client.connect(await serve(proxy, origin, route))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await connection.close()
    other = await client.connect(proxy.snapshot.listeners[0].address)

    assert (await other.get()).status == 200
    assert len(origin.requests) == 1
    assert sorted(record.flags for record in proxy.records) == ["DI", "DI,DC"]


async def test_a_mirror_gets_a_copy_and_its_answer_is_dropped(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    shadow = Origin()
    await shadow.start()
    shadow.handler = answering(500, b"dropped")
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address), cluster("shadow", shadow.address)),
        listeners=(plain_listener("in", address, everything(forward_to("up", mirror=(("shadow", 100.0),)))),),
    )
    connection = await client.connect(address)

    await connection.send(b"POST /x HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 6\r\n\r\nabc")
    await connection.send(b"def")
    answer = await connection.answer()
    assert (answer.status, answer.body) == (200, b"ok")
    assert (await connection.get()).status == 200

    await eventually(lambda: len(shadow.requests) == 2 and shadow.requests[0].body == b"abcdef", "the copies arrive")
    copy = shadow.requests[0]
    assert copy.start == b"POST /x HTTP/1.1"
    assert copy.get(b"host") == b"a.example-shadow:80"
    assert copy.get(b"traceparent") == origin.requests[0].get(b"traceparent")
    assert len(proxy.records) == 2, "copies are not requests of their own"
    await shadow.close()


async def test_a_mirror_that_fails_or_hangs_holds_nobody_up(proxy: Proxy, origin: Origin, client: Client) -> None:
    hanging = Origin()
    await hanging.start()

    async def never(incoming: Incoming) -> None:
        await asyncio.Event().wait()

    hanging.handler = never
    address = proxy.bind()
    mirrors = (("gone", 100.0), ("hanging", 100.0))
    await proxy.apply(
        clusters=(
            cluster("up", origin.address),
            cluster("gone", Address("127.0.0.1", 1)),
            cluster("hanging", hanging.address),
        ),
        listeners=(plain_listener("in", address, everything(forward_to("up", mirror=mirrors))),),
    )
    connection = await client.connect(address)
    for _ in range(5):
        assert (await connection.get()).status == 200
    answer = await connection.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)

    assert answer.status == 200
    assert len(origin.requests[-1].body) == 9_000_000
    await hanging.close()


async def test_a_request_that_a_fault_answers_counts_as_its_services(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    """Nobody chose a cluster; but an objective of the service that sees none of its injected failures sees nothing."""
    service, other = Service("reviews.default.svc", "reviews", "default"), Service("x.default.svc", "x", "default")
    abort = Fault(abort_percent=100, abort_status=503)
    address = proxy.bind()
    both = Forward((WeightedCluster("v1", 1), WeightedCluster("v2", 1)))
    mixed = Forward((WeightedCluster("v1", 1), WeightedCluster("x", 1)))
    answer = await proxy.apply(
        clusters=(
            cluster("v1", origin.address, service=service),
            cluster("v2", origin.address, service=service),
            cluster("x", origin.address, service=other),
        ),
        listeners=(
            plain_listener(
                "out",
                address,
                everything(
                    Route("one", prefix("/one"), Forward((WeightedCluster("v1", 1),)), fault=abort),
                    Route("both", prefix("/both"), both, fault=abort),
                    Route("mixed", prefix("/mixed"), mixed, fault=abort),
                ),
                direction=Direction.OUTBOUND,
            ),
        ),
    )
    assert isinstance(answer, Applied), answer
    connection = await client.connect(address)
    for path in ("/one", "/both", "/mixed"):
        assert (await connection.get(path)).status == 503

    assert [record.cluster for record in proxy.records] == ["v1", None, None]
    (metrics,) = (message for message in proxy.messages if isinstance(message, Metrics))
    counted = {series.labels[HTTP_LABELS.index("destination_service_name")]: series.requests for series in metrics.http}
    assert counted == {"reviews": 2, "unknown": 1}
