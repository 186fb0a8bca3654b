"""Plain requests through a whole worker: what reaches the upstream, what comes back, in which order."""

import asyncio

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction
from sidecar.config.messages import Applied
from sidecar.config.snapshot import Node
from tests.sidecar.worker.peers import Client, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener


async def serve(proxy: Proxy, origin: Origin, direction: Direction = Direction.INBOUND, **http: object) -> Address:
    """One listener, one route, one cluster."""
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up")), direction=direction, **http),),
    )
    assert isinstance(answer, Applied), answer
    return address


async def test_a_request_and_its_answer(proxy: Proxy, origin: Origin, client: Client) -> None:
    origin.handler = answering(201, b"made", "X-Answer: 1", "Server: other")
    connection = await client.connect(await serve(proxy, origin))

    answer = await connection.ask(
        b"POST /things?q=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nX-Custom: 1\r\nContent-Length: 3\r\n\r\nabc"
    )

    (request,) = origin.requests
    assert request.start == b"POST /things?q=1 HTTP/1.1"
    assert request.get(b"host") == b"shop.example:80"
    assert request.get(b"x-custom") == b"1"
    assert request.body == b"abc"
    assert answer.status == 201
    assert answer.body == b"made"
    assert answer.get(b"x-answer") == b"1"
    assert answer.values(b"server") == [b"remora"]
    assert answer.get(b"date") is not None
    service_time = answer.get(b"x-envoy-upstream-service-time")
    assert service_time is not None
    assert service_time.isdigit()
    (record,) = proxy.records
    assert (record.status, record.flags, record.details) == (201, "", "via_upstream")
    assert (record.bytes_received, record.bytes_sent, record.attempts) == (3, 4, 1)
    assert record.upstream is not None


async def test_connections_are_used_again_on_both_sides(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))

    for _ in range(5):
        assert (await connection.get()).status == 200

    assert origin.connections == 1
    assert len(proxy.records) == 5


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def slow_first(incoming: Incoming) -> None:
        if incoming.request.target == b"/0":
            await asyncio.sleep(0.05)
        await incoming.answer(200, incoming.request.target)

    origin.handler = slow_first
    connection = await client.connect(await serve(proxy, origin))

    await connection.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5)))

    assert [(await connection.answer()).body for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert (await connection.get("/after")).body == b"/after"


async def test_a_chunked_body_goes_up_and_comes_back(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def echo(incoming: Incoming) -> None:
        body = await incoming.body()
        await incoming.raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )

    origin.handler = echo
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n")
    await connection.send(b"4\r\ndefg\r\n0\r\nX-Trailer: dropped\r\n\r\n")

    answer = await connection.answer()

    assert answer.body == b"abcdefg"
    assert answer.get(b"transfer-encoding") == b"chunked"
    assert origin.requests[0].get(b"content-length") is None


async def test_an_answer_that_ends_with_the_connection_is_chunked_for_the_client(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def until_close(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await incoming.raw(b"def")
        incoming.close()

    origin.handler = until_close
    connection = await client.connect(await serve(proxy, origin))

    answer = await connection.get()

    assert (answer.status, answer.body) == (200, b"abcdef")
    assert answer.get(b"transfer-encoding") == b"chunked"
    assert (await connection.get()).body == b"abcdef"


async def test_an_http_1_0_client_gets_a_body_that_ends_with_the_connection(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def chunks(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    origin.handler = chunks
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")

    answer = await connection.answer()

    assert answer.get(b"transfer-encoding") is None
    assert answer.get(b"connection") == b"close"
    assert await connection.closed() == b"abc"


@pytest.mark.parametrize(
    ("method", "raw", "declared"),
    [
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"5", id="HEAD keeps the length"),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"5", id="HEAD with a body"),
        pytest.param("GET", b"HTTP/1.1 204 No\r\n\r\n", None, id="204"),
        pytest.param("GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", b"5", id="304 keeps the length"),
        pytest.param("GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello", b"5", id="304 with a body"),
    ],
)
async def test_answers_without_a_body_leave_the_connection_in_step(
    proxy: Proxy, origin: Origin, client: Client, method: str, raw: bytes, declared: bytes | None
) -> None:
    async def handle(incoming: Incoming) -> None:
        if incoming.number == 1:
            await incoming.raw(raw)
        else:
            await incoming.answer(200, b"second")

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    first = await connection.answer(body=False)
    assert first.get(b"content-length") == declared
    assert first.get(b"transfer-encoding") is None

    second = await connection.get()
    assert second.body == b"second"
    clean = not raw.endswith(b"hello")
    assert origin.connections == (1 if clean else 2), "a connection with a body too many was used again"
    assert proxy.records[0].bytes_sent == 0


async def test_100_continue_is_passed_on(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def handle(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        await incoming.answer(200, await incoming.body())

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")

    assert (await connection.answer()).status == 100
    await connection.send(b"abc")
    assert (await connection.answer()).body == b"abc"
    assert origin.requests[0].get(b"expect") == b"100-continue"


async def test_an_early_answer_reaches_a_client_that_is_still_sending(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def handle(incoming: Incoming) -> None:
        await incoming.answer(413, b"too much")

    origin.handler = handle
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)

    answer = await connection.answer()

    assert (answer.status, answer.body) == (413, b"too much")
    assert answer.get(b"connection") == b"close"
    assert await connection.closed() == b""
    assert (await (await client.connect(proxy.snapshot.listeners[0].address)).get()).status == 413
    assert origin.connections == 2, "a connection on which a request was half sent was used again"


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_bodies_of_any_size_arrive_whole(proxy: Proxy, origin: Origin, client: Client, size: int) -> None:
    async def echo(incoming: Incoming) -> None:
        await incoming.answer(200, await incoming.body())

    origin.handler = echo
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    connection = await client.connect(await serve(proxy, origin))

    async def send() -> None:
        await connection.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body)

    _, answer = await asyncio.gather(send(), connection.answer())

    assert answer.body == body
    assert proxy.records[0].bytes_received == size
    assert proxy.records[0].bytes_sent == size


async def test_fields_of_the_hop_end_at_the_proxy(proxy: Proxy, origin: Origin, client: Client) -> None:
    origin.handler = answering(200, b"ok", "Connection: X-Secret", "X-Secret: 1", "Keep-Alive: timeout=9")
    connection = await client.connect(await serve(proxy, origin))

    answer = await connection.get("/", "Connection: X-Mine", "X-Mine: 1", "Keep-Alive: 3", "TE: trailers")

    (request,) = origin.requests
    for name in (b"connection", b"x-mine", b"keep-alive", b"te"):
        assert request.get(name) is None, name
    for name in (b"x-secret", b"keep-alive", b"connection"):
        assert answer.get(name) is None, name


async def test_an_absolute_target_decides_the_host(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, Direction.OUTBOUND))

    await connection.get("http://reviews.default.svc:9080/reviews/1", host="evil.example")

    (request,) = origin.requests
    assert request.start == b"GET /reviews/1 HTTP/1.1"
    assert request.values(b"host") == [b"reviews.default.svc:9080"]
    assert proxy.records[0].authority == b"reviews.default.svc:9080"


async def test_a_request_gets_an_id_and_a_trace(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    await connection.get()
    await connection.get(
        "/", "X-Request-Id: mine", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    )

    first, second = origin.requests
    made = first.get(b"x-request-id")
    assert made is not None
    assert len(made) == 36
    assert second.get(b"x-request-id") == b"mine"
    trace = second.get(b"traceparent")
    assert trace is not None
    assert trace.startswith(b"00-0af7651916cd43dd8448eb211c80319c-")
    assert b"b7ad6b7169203331" not in trace
    assert trace.endswith(b"-01")


SPOOFED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Client-Cert: By=spiffe://a;URI=spiffe://cluster.local/ns/x/sa/admin",
    "X-Envoy-Internal: true",
    "X-Envoy-Original-Path: /x",
    "X-Envoy-Peer-Metadata: abc",
    "X-Envoy-Peer-Metadata-Id: abc",
    "X-Request-Id: spoofed",
)


async def test_an_edge_believes_nothing_of_the_outside(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = await serve(proxy, origin, Direction.GATEWAY, trust_forwarded=False)
    connection = await client.connect(address)

    await connection.get("/", *SPOOFED)

    (request,) = origin.requests
    assert request.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert request.values(b"x-forwarded-proto") == [b"http"]
    assert request.get(b"x-forwarded-client-cert") is None
    assert request.get(b"x-request-id") not in (None, b"spoofed")
    assert [name for name, _ in request.headers if name.startswith(b"x-envoy-")] == [b"x-envoy-attempt-count"]


async def test_a_mesh_listener_keeps_what_was_forwarded_but_no_identity(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    connection = await client.connect(await serve(proxy, origin))

    await connection.get("/", *SPOOFED)

    (request,) = origin.requests
    assert request.values(b"x-forwarded-for") == [b"6.6.6.6"]
    assert request.values(b"x-forwarded-proto") == [b"https"]
    assert request.get(b"x-forwarded-client-cert") is None
    assert request.get(b"x-envoy-peer-metadata") is None
    assert request.get(b"x-envoy-peer-metadata-id") is None
    assert request.get(b"x-request-id") == b"spoofed"


async def test_peer_metadata_is_not_sent_in_plaintext_nor_delivered(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    origin.handler = answering(200, b"ok", "X-Envoy-Peer-Metadata: x", "X-Envoy-Peer-Metadata-Id: y")
    proxy.snapshot = type(proxy.snapshot)("1", Node(id="sidecar~me", peer_metadata="bWU="))
    connection = await client.connect(await serve(proxy, origin, Direction.OUTBOUND))

    answer = await connection.get()

    assert origin.requests[0].get(b"x-envoy-peer-metadata") is None
    assert answer.get(b"x-envoy-peer-metadata") is None
    assert answer.get(b"x-envoy-peer-metadata-id") is None


async def test_a_slow_reader_holds_the_upstream_not_our_memory(
    proxy: Proxy, origin: Origin, client: Client, eventually: object
) -> None:
    sent = 0
    total = 64 * 1024 * 1024

    async def flood(incoming: Incoming) -> None:
        nonlocal sent
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await incoming.raw(b"x" * 65536)
            sent += 65536

    origin.handler = flood
    connection = await client.connect(await serve(proxy, origin))
    connection.writer.transport.pause_reading()
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    before = -1
    while sent != before or not sent:  # until nothing moves any more
        before = sent
        await asyncio.sleep(0.1)

    assert sent < total / 2, "the upstream was read although the client does not read"
    connection.writer.transport.resume_reading()
    answer = await connection.answer()
    assert len(answer.body) == total


async def test_a_slow_upstream_holds_the_client_not_our_memory(proxy: Proxy, origin: Origin, client: Client) -> None:
    go_on = asyncio.Event()

    async def late(incoming: Incoming) -> None:
        await go_on.wait()
        await incoming.answer(200, b"%d" % len(await incoming.body()))

    origin.handler = late
    connection = await client.connect(await serve(proxy, origin))
    total = 64 * 1024 * 1024
    connection.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < total:
            connection.writer.write(b"x" * 65536)
            await connection.writer.drain()
            sent += 65536

    sending = asyncio.get_running_loop().create_task(send())
    before = -1
    while sent != before or not sent:
        before = sent
        await asyncio.sleep(0.1)

    assert sent < total / 2, "the client was read although the upstream does not read"
    go_on.set()
    await sending
    assert (await connection.answer()).body == b"%d" % total


async def test_an_empty_chunked_body_that_came_along_with_its_head_is_a_whole_request(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    connection = await client.connect(await serve(proxy, origin))

    for _ in range(2):
        answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert answer.status == 200

    assert [(request.get(b"content-length"), request.body) for request in origin.requests] == [(b"0", b"")] * 2
    assert origin.connections == 1


async def test_route_and_upstream_see_the_normalized_path(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))

    await connection.get("/static/%2e%2e/%61dmin/./x?y=%2e")

    (request,) = origin.requests
    assert request.target == b"/admin/x?y=%2e"
    (record,) = proxy.records
    assert record.url == b"/admin/x?y=%2e"
