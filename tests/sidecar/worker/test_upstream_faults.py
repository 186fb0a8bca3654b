"""What an upstream can do wrong, what its client is told, what the record says, and that all works afterwards."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.config.cluster import Thresholds
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.config.route import Forward, RetryOn, RetryPolicy, Route, RouteMatch, WeightedCluster
from tests.sidecar.worker.peers import Client, Gate, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, listening_socket, plain_listener

Eventually = Callable[..., Awaitable[None]]


async def serve(
    proxy: Proxy,
    *upstreams: Address,
    thresholds: Thresholds | None = None,
    connect_timeout_s: float = 1.0,
    **route: object,
) -> Address:
    address = proxy.bind()
    up = cluster("up", *upstreams, thresholds=thresholds or Thresholds(), connect_timeout_s=connect_timeout_s)
    answer = await proxy.apply(
        clusters=(up,), listeners=(plain_listener("in", address, everything(forward_to("up", **route))),)
    )
    assert isinstance(answer, Applied), answer
    return address


def nobody() -> Address:
    """An address that refuses connections."""
    sock, address = listening_socket()
    sock.close()
    return address


async def test_a_refused_connection_is_uf(proxy: Proxy, client: Client) -> None:
    connection = await client.connect(await serve(proxy, nobody()))

    answer = await connection.get()

    assert answer.status == 503
    assert answer.body == (
        b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
    )
    (record,) = proxy.records
    assert record.flags == "UF"
    assert record.failure is not None
    assert "refused" in record.failure.lower()
    assert proxy.worker.cluster("up").counts.cx_connect_fail == 1
    assert (await connection.get()).status == 503, "the client's connection did not survive"


async def test_no_endpoints_is_uh(proxy: Proxy, client: Client) -> None:
    connection = await client.connect(await serve(proxy))

    answer = await connection.get()

    assert (answer.status, answer.body) == (503, b"no healthy upstream")
    assert (proxy.records[0].flags, proxy.records[0].details) == ("UH", "no_healthy_upstream")


async def test_a_missing_cluster_is_nc(proxy: Proxy, client: Client) -> None:
    address = proxy.bind()
    await proxy.apply(listeners=(plain_listener("in", address, everything(forward_to("gone"))),))
    connection = await client.connect(address)

    answer = await connection.get()

    assert answer.status == 503
    assert (proxy.records[0].flags, proxy.records[0].details) == ("NC", "cluster_not_found")


async def test_no_route_is_nr(proxy: Proxy, client: Client) -> None:
    address = proxy.bind()
    await proxy.apply(listeners=(plain_listener("in", address, everything()),))
    connection = await client.connect(address)

    answer = await connection.get()

    assert (answer.status, answer.body) == (404, b"")
    assert (proxy.records[0].flags, proxy.records[0].details) == ("NR", "route_not_found")


async def test_garbage_for_an_answer_is_upe(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def garbage(incoming: Incoming) -> None:
        await incoming.raw(b"SSH-2.0-OpenSSH\r\n\r\n")

    origin.handler = garbage
    connection = await client.connect(await serve(proxy, origin.address))

    answer = await connection.get()

    assert answer.status == 502
    assert proxy.records[0].flags == "UPE"
    origin.handler = answering()
    assert (await connection.get()).status == 200


async def test_a_close_before_the_answer_is_uc(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def hang_up(incoming: Incoming) -> None:
        incoming.close()

    origin.handler = hang_up
    connection = await client.connect(await serve(proxy, origin.address))

    answer = await connection.get()

    assert answer.status == 503
    assert b"connection termination" in answer.body
    assert proxy.records[0].flags == "UC"
    assert len(origin.requests) == 1, "a request on a new connection was sent again without a retry policy"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", id="of known length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", id="chunked"),
    ],
)
async def test_a_close_inside_the_answer_cuts_the_client(
    proxy: Proxy, origin: Origin, client: Client, head: bytes
) -> None:
    async def half(incoming: Incoming) -> None:
        await incoming.raw(head)
        incoming.close()

    origin.handler = half
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await connection.answer()
    assert proxy.records[0].flags == "UC"
    assert proxy.records[0].details.startswith("upstream_reset_after_response_started")


async def test_a_reset_inside_an_answer_without_length_is_no_clean_end_for_a_1_0_client(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def half(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        incoming.close()

    origin.handler = half
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")

    assert await connection.was_cut()


async def test_a_stale_connection_is_replaced_for_a_request_that_may_be_repeated(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def close_when_asked_again(incoming: Incoming) -> None:
        if incoming.number == 2:
            incoming.reset()
        else:
            await incoming.answer(200, b"%d" % incoming.connection)

    origin.handler = close_when_asked_again
    connection = await client.connect(await serve(proxy, origin.address))

    assert (await connection.get()).body == b"1"
    assert (await connection.get()).body == b"2"
    assert [record.status for record in proxy.records] == [200, 200]
    assert [request.target for request in origin.requests] == [b"/", b"/", b"/"]


async def test_a_stale_connection_does_not_repeat_a_post(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def close_when_asked_again(incoming: Incoming) -> None:
        await incoming.body()
        if incoming.number == 2:
            incoming.reset()
        else:
            await incoming.answer()

    origin.handler = close_when_asked_again
    connection = await client.connect(await serve(proxy, origin.address))
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"

    assert (await connection.ask(post)).status == 200
    assert (await connection.ask(post)).status == 503
    assert len(origin.requests) == 2


async def test_a_connection_closed_while_idle_never_costs_a_request(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def answer_and_close(incoming: Incoming) -> None:
        await incoming.body()
        await incoming.answer()
        incoming.close()  # without having said so

    origin.handler = answer_and_close
    connection = await client.connect(await serve(proxy, origin.address))

    for _ in range(20):
        answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert answer.status == 200
    assert len(origin.requests) == 20


async def test_a_flood_of_informational_answers_ends_the_request(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def flood(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    origin.handler = flood
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    statuses = []
    while not statuses or statuses[-1] < 200:
        statuses.append((await connection.answer()).status)

    assert statuses[-1] == 502
    assert len(statuses) <= 17
    assert proxy.records[0].flags == "UPE"


# time-outs


async def never(incoming: Incoming) -> None:
    await asyncio.Event().wait()


async def test_a_route_timeout_is_ut(proxy: Proxy, origin: Origin, client: Client) -> None:
    origin.handler = never
    connection = await client.connect(await serve(proxy, origin.address, timeout_s=0.1))

    answer = await connection.get()

    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    (record,) = proxy.records
    assert (record.flags, record.details) == ("UT", "response_timeout")
    assert proxy.worker.cluster("up").counts.rq_timeout == 1
    origin.handler = answering()
    assert (await connection.get()).status == 200


async def test_a_route_timeout_inside_the_answer_cuts_the_client(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def half(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()

    origin.handler = half
    connection = await client.connect(await serve(proxy, origin.address, timeout_s=0.1))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await connection.answer()
    assert "UT" in proxy.records[0].flags


# retries


def policy(*on: RetryOn, attempts: int = 2, **options: object) -> RetryPolicy:
    return RetryPolicy(frozenset(on), attempts, base_interval_s=0.001, max_interval_s=0.002, **options)  # type: ignore[arg-type]


async def test_a_refused_connection_is_tried_elsewhere(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = await serve(proxy, nobody(), origin.address, retry=policy(RetryOn.CONNECT_FAILURE))
    connection = await client.connect(address)

    for _ in range(10):
        answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        assert answer.status == 200
    assert all(request.body == b"hello" for request in origin.requests)
    assert len(origin.requests) == 10
    assert {record.attempts for record in proxy.records} <= {1, 2}
    assert 2 in {record.attempts for record in proxy.records}


async def test_retries_end_and_say_so(proxy: Proxy, client: Client) -> None:
    connection = await client.connect(await serve(proxy, nobody(), retry=policy(RetryOn.CONNECT_FAILURE)))

    answer = await connection.get()

    assert answer.status == 503
    (record,) = proxy.records
    assert set(record.flags.split(",")) == {"UF", "URX"}
    assert record.attempts == 3
    counts = proxy.worker.cluster("up").counts
    assert (counts.rq_retry, counts.rq_retry_active, counts.rq_active) == (2, 0, 0)


@pytest.mark.parametrize(
    ("method", "expected", "tries"),
    [pytest.param("GET", 200, 2, id="GET is repeated"), pytest.param("POST", 503, 1, id="POST is not")],
)
async def test_a_retry_by_status(
    proxy: Proxy, origin: Origin, client: Client, method: str, expected: int, tries: int
) -> None:
    async def fail_once(incoming: Incoming) -> None:
        await incoming.body()
        await incoming.answer(503 if incoming.number == 1 else 200)

    origin.handler = fail_once
    connection = await client.connect(
        await serve(proxy, origin.address, retry=policy(RetryOn.STATUS_CODES, status_codes=frozenset({503})))
    )

    answer = await connection.ask(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode())

    assert answer.status == expected
    assert len(origin.requests) == tries
    assert (await connection.get()).status == 200


async def test_a_body_too_large_to_keep_is_not_repeated(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def fail(incoming: Incoming) -> None:
        await incoming.body()
        await incoming.answer(503)

    origin.handler = fail
    connection = await client.connect(await serve(proxy, origin.address, retry=policy(RetryOn.SERVER_ERROR)))

    answer = await connection.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)

    assert answer.status == 503
    assert len(origin.requests) == 1


async def test_a_try_that_takes_too_long_is_repeated(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def slow_once(incoming: Incoming) -> None:
        if incoming.number == 1:
            await asyncio.Event().wait()
        await incoming.answer()

    origin.handler = slow_once
    connection = await client.connect(
        await serve(proxy, origin.address, retry=policy(RetryOn.SERVER_ERROR, per_try_timeout_s=0.1))
    )

    assert (await connection.get()).status == 200
    assert proxy.records[0].attempts == 2


async def test_the_attempt_is_told_upstream(proxy: Proxy, origin: Origin, client: Client) -> None:
    from sidecar.config.listener import Direction

    async def fail_once(incoming: Incoming) -> None:
        await incoming.answer(503 if incoming.number == 1 else 200)

    origin.handler = fail_once
    address = proxy.bind()
    route = forward_to("up", retry=policy(RetryOn.SERVER_ERROR))
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("out", address, everything(route), direction=Direction.OUTBOUND),),
    )
    connection = await client.connect(address)
    await connection.get()

    assert [request.values(b"x-envoy-attempt-count") for request in origin.requests] == [[b"1"], [b"2"]]


# circuit breakers


async def test_too_many_requests_are_uo(proxy: Proxy, origin: Origin, client: Client) -> None:
    origin.handler = never
    address = await serve(proxy, origin.address, thresholds=Thresholds(max_requests=1), timeout_s=2.0)
    first, second = await client.connect(address), await client.connect(address)
    await first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)

    answer = await second.get()

    assert answer.status == 503
    assert answer.get(b"x-envoy-overloaded") == b"true"
    assert answer.body.endswith(b"reset reason: overflow")
    assert proxy.records[0].flags == "UO"


async def test_too_many_waiting_are_uo_and_the_others_are_served_one_by_one(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    gate = origin.handler = Gate()
    address = await serve(proxy, origin.address, thresholds=Thresholds(max_connections=1, max_pending=2))
    connections = [await client.connect(address) for _ in range(4)]
    for connection in connections:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.02)
    refused = await connections[3].answer()
    gate.open()

    assert refused.status == 503
    assert [(await connection.answer()).status for connection in connections[:3]] == [200, 200, 200]
    assert origin.connections == 1


# idle connections


@pytest.mark.parametrize(
    ("fields", "idle_timeout_s"),
    [
        pytest.param((), 0.1, id="the cluster's time-out"),
        pytest.param(("Keep-Alive: timeout=1",), 50.0, id="the upstream's announcement"),
    ],
)
async def test_an_idle_upstream_connection_is_closed_by_us_first(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually, fields: tuple[str, ...], idle_timeout_s: float
) -> None:
    origin.handler = answering(200, b"ok", *fields)
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address, idle_timeout_s=idle_timeout_s),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    connection = await client.connect(address)
    for _ in range(3):
        assert (await connection.get()).status == 200

    await eventually(lambda: not origin.open, "the idle connection is closed", within=2.0)
    assert proxy.worker.cluster("up").counts.cx_active == 0
    assert (await connection.get()).status == 200


async def test_a_connection_is_replaced_after_so_many_requests(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address, max_requests_per_connection=2),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    connection = await client.connect(address)
    for _ in range(6):
        assert (await connection.get()).status == 200
    assert origin.connections == 3


# clients that go


async def test_a_client_that_leaves_frees_the_upstream(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    origin.handler = never
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: origin.requests, "the request reaches the upstream")

    await connection.close()

    await eventually(lambda: proxy.records, "the request is recorded")
    (record,) = proxy.records
    assert (record.status, record.flags) == (0, "DC")
    counts = proxy.worker.cluster("up").counts
    assert (counts.rq_active, counts.cx_active) == (0, 0)


async def test_weights_of_zero_get_nothing(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    action = Forward((WeightedCluster("up", 1), WeightedCluster("down", 0)))
    await proxy.apply(
        clusters=(cluster("up", origin.address), cluster("down", nobody())),
        listeners=(plain_listener("in", address, everything(Route("r", RouteMatch(), action))),),
    )
    connection = await client.connect(address)

    assert {(await connection.get()).status for _ in range(50)} == {200}
