"""What a client can do wrong or slowly: told off, timed out, recorded, and everybody else served."""

import asyncio

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from tests.sidecar.worker.peers import Client, Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener


async def serve(proxy: Proxy, origin: Origin, **http: object) -> Address:
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up")), **http),),
    )
    assert isinstance(answer, Applied), answer
    return address


@pytest.mark.parametrize(
    ("data", "status", "flag"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "DPE", id="no Host"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "DPE",
            id="two lengths",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 62_000 + b"\r\n\r\n", 431, "DPE", id="large fields"),
        pytest.param(b"GET /" + b"y" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "DPE", id="a long target"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly bytes", 403, "", id="CONNECT"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            403,
            "",
            id="WebSocket",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "DPE", id="an unknown expectation"),
        pytest.param(b"\x16\x03\x01\x00\x05hello", 400, "DPE", id="TLS on a plaintext port"),
    ],
)
async def test_a_malformed_request_is_refused_recorded_and_not_forwarded(
    proxy: Proxy, origin: Origin, client: Client, data: bytes, status: int, flag: str
) -> None:
    address = await serve(proxy, origin)
    connection = await client.connect(address)

    answer = await connection.ask(data)

    assert answer.status == status
    assert answer.get(b"connection") == b"close"
    assert await connection.closed() == b""
    (record,) = proxy.records
    assert (record.status, record.flags) == (status, flag)
    assert origin.requests == []
    assert (await (await client.connect(address)).get()).status == 200


async def test_a_malformed_request_behind_a_good_one_does_not_cost_the_good_one(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    async def late(incoming: Incoming) -> None:
        await asyncio.sleep(0.05)
        await incoming.answer()

    origin.handler = late
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\n\r\n")

    assert (await connection.answer()).status == 200
    assert (await connection.answer()).status == 400
    assert await connection.closed() == b""
    assert [request.target for request in origin.requests] == [b"/good"]


async def test_a_smuggled_request_never_reaches_the_upstream(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    await connection.closed()

    assert origin.requests == []


async def test_junk_for_a_chunk_inside_the_body_ends_the_request(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    while not origin.requests:
        await asyncio.sleep(0.01)
    await connection.send(b"0x5\r\nhello\r\n")

    assert (await connection.answer()).status == 400
    assert proxy.records[0].flags == "DPE"
    assert (await (await client.connect(proxy.snapshot.listeners[0].address)).get()).status == 200


async def test_a_head_that_takes_too_long_is_answered_408(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = await serve(proxy, origin, request_headers_timeout_s=0.1)
    slow, other = await client.connect(address), await client.connect(address)
    await slow.send(b"GET / HTTP/1.1\r\nHo")

    assert (await other.get()).status == 200
    answer = await slow.answer()

    assert answer.status == 408
    assert await slow.closed() == b""
    assert proxy.records[-1].details == "request_header_timeout"
    assert (await other.get()).status == 200


async def test_a_body_that_takes_too_long_is_answered_408(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, stream_idle_timeout_s=0.1))
    await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")

    answer = await connection.answer()

    assert (answer.status, answer.body) == (408, b"stream timeout")
    assert proxy.records[0].flags == "SI"


async def test_an_upstream_that_says_nothing_is_answered_504(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def never(incoming: Incoming) -> None:
        await asyncio.Event().wait()

    origin.handler = never
    connection = await client.connect(await serve(proxy, origin, stream_idle_timeout_s=0.1))

    answer = await connection.get()

    assert (answer.status, answer.body) == (504, b"stream timeout")
    assert proxy.records[0].flags == "SI"


async def test_a_reader_that_takes_nothing_is_cut(proxy: Proxy, origin: Origin, client: Client) -> None:
    async def flood(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            await incoming.raw(b"x" * 65536)

    origin.handler = flood
    address = await serve(proxy, origin, stream_idle_timeout_s=0.2)
    connection = await client.connect(address)
    connection.writer.transport.pause_reading()
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    while not proxy.records:
        await asyncio.sleep(0.02)
    assert "SI" in proxy.records[0].flags
    assert proxy.worker.cluster("up").counts.cx_active == 0


async def test_an_idle_connection_is_closed(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin, idle_timeout_s=0.1))
    assert (await connection.get()).status == 200

    assert await connection.closed() == b""
    assert len(proxy.records) == 1


async def test_a_client_that_says_close_is_closed(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin))

    answer = await connection.get("/", "Connection: close")

    assert answer.get(b"connection") == b"close"
    assert await connection.closed() == b""


async def test_pipelined_requests_of_a_client_that_reads_nothing_do_not_pile_up(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    origin.handler = answering(200, b"x" * 100_000)
    connection = await client.connect(await serve(proxy, origin))
    connection.writer.transport.pause_reading()
    total = 2000
    connection.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * total)

    before = -1
    while len(origin.requests) != before or not origin.requests:
        before = len(origin.requests)
        await asyncio.sleep(0.1)
    assert len(origin.requests) < total / 2, "answers pile up in memory"

    connection.writer.transport.resume_reading()
    for _ in range(total):
        assert len((await connection.answer()).body) == 100_000
    assert len(origin.requests) == total
