"""Requests tapped in a whole worker: what is told of them, and what is not told, kept or slowed down."""

import asyncio
from collections.abc import Awaitable, Callable

from sidecar.config.listener import Direction
from sidecar.config.messages import Tap, TapCount, TapCounts, Tapped, Untap
from sidecar.config.route import DirectResponse, Route, RouteMatch
from sidecar.config.tap import TapFilter, TapRecord
from sidecar.tap.taps import MAX_HELD_BYTES
from tests.sidecar.worker.peers import Client, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, everything, plain_listener
from tests.sidecar.worker.test_requests import serve

Eventually = Callable[..., Awaitable[None]]


def tapped(proxy: Proxy) -> list[TapRecord]:
    return [message.record for message in proxy.messages if isinstance(message, Tapped)]


def counts(proxy: Proxy) -> list[TapCount]:
    """Without the one that says that a tap is open."""
    found = [count for message in proxy.messages if isinstance(message, TapCounts) for count in message.counts]
    return [count for count in found if count != TapCount(count.number, 0, 0)]


def field(headers: tuple[tuple[bytes, bytes], ...], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


async def test_a_request_and_its_answer_are_told_as_the_client_sent_and_got_them(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    origin.handler = answering(201, b"made", "X-Answer: 1", "Server: other")
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter()))

    answer = await connection.ask(
        b"POST /things?q=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nX-Custom: 1\r\nUser-Agent: t/1\r\n"
        b"X-Request-Id: abc\r\nContent-Length: 3\r\n\r\nabc"
    )

    (record,) = tapped(proxy)
    assert (record.method, record.authority, record.target, record.version) == (
        b"POST",
        b"shop.example:80",
        b"/things?q=1",
        "HTTP/1.1",
    )
    assert record.direction is Direction.INBOUND
    sent = record.request
    assert (sent.body, sent.body_bytes, sent.whole) == (b"abc", 3, True)
    assert sorted(sent.headers) == [
        (b"content-length", b"3"),
        (b"host", b"shop.example:80"),
        (b"user-agent", b"t/1"),
        (b"x-custom", b"1"),
        (b"x-request-id", b"abc"),
    ]
    got = record.answer
    assert got is not None
    assert record.status == 201
    assert (got.body, got.body_bytes, got.whole) == (b"made", 4, True)
    assert sorted(got.headers) == sorted((name.lower(), value) for name, value in answer.headers)
    assert sent.began <= sent.ended <= got.began <= got.ended
    assert record.upstream == str(origin.address)
    assert record.cluster == "up"
    assert (record.flags, record.attempts, record.request_id) == ("", 1, b"abc")
    assert len(record.trace_id) == 32
    assert record.client == f"127.0.0.1:{connection.writer.get_extra_info('sockname')[1]}"


async def test_while_nobody_taps_connections_watch_nothing(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    await connection.get()
    proxy.worker.tap(Tap(1, TapFilter()))
    await connection.get()
    assert proxy.messages.count(TapCounts((TapCount(1, 0, 0),))) == 1
    proxy.worker.untap(Untap(1))
    await connection.get()

    assert len(tapped(proxy)) == 1
    (live,) = proxy.worker.listeners
    assert [context.watch for context in live.contexts()] == [None]
    assert counts(proxy)[-1] == TapCount(1, 1, 0, closed=True)


async def test_bodies_are_cut_where_the_tap_says_and_counted_whole(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    origin.handler = answering(200, b"y" * 5000)
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter(max_body_bytes=1000)))

    await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                         + b"640\r\n" + b"x" * 1600 + b"\r\n640\r\n" + b"x" * 1600 + b"\r\n0\r\n\r\n")  # fmt: skip

    (record,) = tapped(proxy)
    assert record.answer is not None
    assert (record.request.body, record.request.body_bytes) == (b"x" * 1000, 3200)
    assert (record.answer.body, record.answer.body_bytes) == (b"y" * 1000, 5000)
    assert field(record.request.headers, b"transfer-encoding") == [b"chunked"]


async def test_a_chunked_answer_with_trailers_is_told_as_it_is(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def chunked(incoming: Incoming) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        await incoming.raw(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")

    origin.handler = chunked
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter()))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
    await connection.reader.readuntil(b"0\r\n")

    (record,) = tapped(proxy)
    assert record.answer is not None
    assert (record.answer.body, record.answer.trailers) == (b"abcde", ((b"x-sum", b"5"),))
    assert field(record.answer.headers, b"transfer-encoding") == [b"chunked"]
    assert field(record.answer.headers, b"content-length") == []


async def test_a_local_reply_is_an_answer_like_any_other(proxy: Proxy, client: Client) -> None:
    address = proxy.bind()
    direct = Route("teapot", RouteMatch(), DirectResponse(418, b"short and stout"))
    await proxy.apply(listeners=(plain_listener("in", address, everything(direct)),))
    proxy.worker.tap(Tap(1, TapFilter(statuses=((400, 499),))))
    connection = await client.connect(address)

    await connection.get("/tea")

    (record,) = tapped(proxy)
    assert record.answer is not None
    assert (record.status, record.answer.body, record.details) == (418, b"short and stout", "direct_response")
    assert (record.route, record.cluster, record.upstream) == ("teapot", None, None)


async def test_a_client_that_leaves_is_told_with_what_came_until_then(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def half(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await asyncio.sleep(60)

    origin.handler = half
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter()))
    await connection.send(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
    await connection.reader.readuntil(b"half")
    await connection.close()

    await eventually(lambda: tapped(proxy), "the request is told")
    (record,) = tapped(proxy)
    assert record.answer is not None
    assert (record.flags, record.answer.body, record.answer.whole) == ("DC", b"half", False)


async def test_an_upstream_that_breaks_off_is_told_with_its_flag(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def broken(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        incoming.close()

    origin.handler = broken
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter()))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await connection.was_cut()

    (record,) = tapped(proxy)
    assert record.answer is not None
    assert (record.flags, record.answer.whole) == ("UC", False)


async def test_several_taps_get_what_each_asked_for(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter(path="/a")))
    proxy.worker.tap(Tap(2, TapFilter(statuses=((500, 599),))))
    proxy.worker.tap(Tap(3, TapFilter(direction=Direction.OUTBOUND)))

    await connection.get("/a")
    origin.handler = answering(503)
    await connection.get("/a")
    await connection.get("/b")

    told = [(message.taps, message.record.target) for message in proxy.messages if isinstance(message, Tapped)]
    assert told == [((1,), b"/a"), ((1, 2), b"/a"), ((2,), b"/b")]


async def test_a_listener_that_comes_later_is_tapped_too(proxy: Proxy, origin: Origin, client: Client) -> None:
    proxy.worker.tap(Tap(1, TapFilter()))
    connection = await client.connect(await serve(proxy, origin))
    await connection.get()
    assert len(tapped(proxy)) == 1


async def test_what_the_agent_can_not_take_is_counted_and_not_waited_for(
    origin: Origin, client: Client, proxy: Proxy
) -> None:
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker._taps._emit = lambda message: False
    proxy.worker.tap(Tap(1, TapFilter()))

    for _ in range(3):
        assert (await connection.get()).status == 200
    proxy.worker.flush()

    assert tapped(proxy) == []
    assert counts(proxy) == [TapCount(1, 3, 3)]


async def test_memory_for_recordings_is_bounded_and_given_back(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    proxy.worker.tap(Tap(1, TapFilter()))
    budget = proxy.worker._taps._budget
    budget.held = MAX_HELD_BYTES

    assert (await connection.get()).status == 200
    budget.held = MAX_HELD_BYTES - 5000
    origin.handler = answering(200, b"z" * 2000)
    assert (await connection.get()).body == b"z" * 2000
    assert budget.held == MAX_HELD_BYTES - 5000
    budget.held = 0
    assert (await connection.get()).status == 200
    assert budget.held == 0
    proxy.worker.flush()

    assert len(tapped(proxy)) == 1
    assert counts(proxy) == [TapCount(1, 3, 2)]
