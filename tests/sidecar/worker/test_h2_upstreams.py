"""Upstreams that speak HTTP/2: shared connections, trailers, limits, GOAWAY, resets, windows; retries."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import pytest

from sidecar.config.cluster import Protocol
from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied
from sidecar.config.route import RetryOn, RetryPolicy
from tests.sidecar.worker.h2_peers import H2Client, H2Gate, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]
MakeOrigin = Callable[..., Awaitable[H2Origin]]


async def serve(proxy: Proxy, *upstreams: Address, route: dict[str, Any] | None = None, **options: Any) -> Address:
    """A listener that forwards everything to an HTTP/2 cluster."""
    address = proxy.bind()
    options.setdefault("connect_timeout_s", 1.0)
    answer = await proxy.apply(
        clusters=(cluster("up", *upstreams, protocol=Protocol.HTTP2, **options),),
        listeners=(plain_listener("in", address, everything(forward_to("up", **(route or {})))),),
    )
    assert isinstance(answer, Applied), answer
    return address


async def whole(peer: H2Peer, stream: Stream) -> None:
    await peer.until(lambda: stream.ended or stream.reset is not None, "the request's end")


async def test_http_1_becomes_http_2(proxy: Proxy, h2_origin: H2Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, h2_origin.address))

    answer = await connection.ask(
        b"POST /p?q=1 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n\r\n"
        b"4\r\nbody\r\n0\r\n\r\n"
    )

    assert (answer.status, answer.body, answer.get(b"content-length")) == (200, b"ok", b"2")
    (request,) = h2_origin.requests
    assert request.fields[:4] == [
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.example"), (b":path", b"/p?q=1"),
    ]  # fmt: skip
    assert (request.body, request.get(b"x-one"), request.get(b"transfer-encoding")) == (b"body", b"1", None)


async def test_requests_share_one_connection(proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client) -> None:
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    streams = [peer.open(get(f"/{number}")) for number in range(40)]
    for stream in streams:
        assert (await peer.answer(stream)).status == 200
    assert len(h2_origin.peers) == 1
    assert proxy.worker.cluster("up").counts.cx_total == 1


async def test_no_more_streams_than_the_upstream_allows(
    proxy: Proxy, make_h2_origin: MakeOrigin, h2_client: H2Client
) -> None:
    origin = await make_h2_origin(MAX_CONCURRENT_STREAMS=3)
    most = 0

    async def slow(peer: H2Peer, stream: Stream) -> None:
        nonlocal most
        most = max(most, peer.h2.open_inbound_streams)
        await whole(peer, stream)
        await asyncio.sleep(0.02)
        peer.send_head(stream, [(b":status", b"200")], end=True)

    origin.handler = slow
    peer = await h2_client.connect(await serve(proxy, origin.address))
    streams = [peer.open(get()) for _ in range(12)]
    for stream in streams:
        assert (await peer.answer(stream)).status == 200
    assert most <= 3
    assert 1 < len(origin.peers) <= 4, "more connections when one is full"


async def test_an_upstream_that_allows_no_streams_is_a_failed_connection(
    proxy: Proxy, make_h2_origin: MakeOrigin, client: Client
) -> None:
    origin = await make_h2_origin(MAX_CONCURRENT_STREAMS=0)
    connection = await client.connect(await serve(proxy, origin.address))

    assert (await connection.get()).status == 503
    assert proxy.records[0].flags == "UF"


async def test_an_upstream_that_speaks_http_1_is_a_failed_connection(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    connection = await client.connect(await serve(proxy, origin.address))

    assert (await connection.get()).status == 503
    assert proxy.records[0].flags == "UF"
    counts = proxy.worker.cluster("up").counts
    assert (counts.rq_active, counts.cx_active) == (0, 0)


async def test_an_upstream_that_says_nothing_is_a_connection_time_out(proxy: Proxy, client: Client) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    connection = await client.connect(await serve(proxy, address, connect_timeout_s=0.1))

    assert (await connection.get()).status == 503
    assert proxy.records[0].details == "upstream_reset_before_response_started{connection_timeout}"
    server.close()
    await server.wait_closed()


async def test_trailers_pass_both_ways(proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client) -> None:
    async def with_trailers(peer: H2Peer, stream: Stream) -> None:
        await whole(peer, stream)
        peer.send_head(stream, [(b":status", b"200")])
        await peer.send(stream, b"body")
        peer.send_head(stream, [(b"x-sum", b"7"), (b"content-length", b"9")], end=True)

    h2_origin.handler = with_trailers
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    stream = peer.open(get(method=b"POST"), end=False)
    await peer.send(stream, b"hello")
    peer.send_head(stream, [(b"x-mine", b"1")], end=True)

    await peer.answer(stream)
    assert (stream.body, stream.trailers) == (b"body", [(b"x-sum", b"7")])
    assert (h2_origin.requests[0].body, h2_origin.requests[0].trailers) == (b"hello", [(b"x-mine", b"1")])


async def test_informational_answers_pass(proxy: Proxy, h2_origin: H2Origin, client: Client) -> None:
    async def hint(peer: H2Peer, stream: Stream) -> None:
        await whole(peer, stream)
        peer.send_head(stream, [(b":status", b"103"), (b"link", b"</a>")])
        peer.send_head(stream, [(b":status", b"204")], end=True)

    h2_origin.handler = hint
    connection = await client.connect(await serve(proxy, h2_origin.address))
    first = await connection.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (first.status, first.get(b"link")) == (103, b"</a>")
    assert (await connection.answer()).status == 204


async def test_a_refused_stream_is_sent_again_whatever_its_method(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    async def refuse_once(peer: H2Peer, stream: Stream) -> None:
        await whole(peer, stream)
        if len(h2_origin.requests) == 1:
            peer.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            peer.send_head(stream, [(b":status", b"201")], end=True)

    h2_origin.handler = refuse_once
    connection = await client.connect(await serve(proxy, h2_origin.address))
    answer = await connection.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")

    assert answer.status == 201
    assert [request.body for request in h2_origin.requests] == [b"body", b"body"]
    assert proxy.records[0].attempts == 2


async def test_an_upstream_that_always_refuses_is_ur(proxy: Proxy, h2_origin: H2Origin, client: Client) -> None:
    async def refuse(peer: H2Peer, stream: Stream) -> None:
        peer.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    h2_origin.handler = refuse
    policy = RetryPolicy(frozenset({RetryOn.REFUSED_STREAM}), attempts=2, base_interval_s=0.001)
    connection = await client.connect(await serve(proxy, h2_origin.address, route={"retry": policy}))

    answer = await connection.get()
    assert answer.status == 503
    assert answer.body.endswith(b"remote refused stream reset")
    assert proxy.records[0].flags == "URX,UR"
    assert len(h2_origin.requests) == 4  # once for free, twice by policy


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_reset_before_the_answer_is_not_sent_again_without_a_policy(
    proxy: Proxy, h2_origin: H2Origin, client: Client, method: bytes
) -> None:
    async def reset(peer: H2Peer, stream: Stream) -> None:
        peer.reset(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)

    h2_origin.handler = reset
    connection = await client.connect(await serve(proxy, h2_origin.address))
    answer = await connection.ask(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (answer.status, len(h2_origin.requests)) == (503, 1)
    assert proxy.records[0].flags == "UR"
    assert proxy.records[0].details == "upstream_reset_before_response_started{remote_reset}"


async def half_an_answer(peer: H2Peer, stream: Stream) -> None:
    peer.send_head(stream, [(b":status", b"200")])
    await peer.send(stream, b"half")
    peer.reset(stream, h2.errors.ErrorCodes.CANCEL)


async def test_a_reset_inside_the_answer_resets_the_client_s_stream(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    h2_origin.handler = half_an_answer
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    stream = await peer.answer(peer.open(get()))
    assert (stream.ended, stream.reset) == (False, h2.errors.ErrorCodes.INTERNAL_ERROR)
    assert proxy.records[0].flags == "UR"


async def test_a_reset_inside_the_answer_cuts_an_http_1_client(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    h2_origin.handler = half_an_answer
    connection = await client.connect(await serve(proxy, h2_origin.address))
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await connection.was_cut()


async def test_goaway_lets_streams_finish_and_sends_those_it_left_out_again(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    go_on = asyncio.Event()

    async def gate(peer: H2Peer, stream: Stream) -> None:
        if peer is h2_origin.peers[0] and stream.id > 1:
            return  # never looked at
        await go_on.wait()
        peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.handler = gate
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    first = peer.open(get("/1"))
    others = [peer.open(get(f"/{number}", method=b"POST")) for number in (2, 3)]
    while len(h2_origin.requests) < 3:
        await asyncio.sleep(0.01)

    h2_origin.peers[0].say_goodbye(last=1)
    while len(h2_origin.requests) < 5:
        await asyncio.sleep(0.01)
    go_on.set()

    for stream in (first, *others):
        assert (await peer.answer(stream)).status == 200
    assert len(h2_origin.peers) == 2
    await h2_origin.peers[0].until(lambda: h2_origin.peers[0].closed, "the old connection closes")


async def test_a_lost_connection_is_uc_for_each_of_its_requests(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    async def never(peer: H2Peer, stream: Stream) -> None:
        return

    h2_origin.handler = never
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    streams = [peer.open(get(method=b"POST")) for _ in range(3)]
    await eventually(lambda: len(h2_origin.requests) == 3, "the requests reach the upstream")

    h2_origin.peers[0].writer.transport.abort()

    for stream in streams:
        assert (await peer.answer(stream)).status == 503
    assert {record.flags for record in proxy.records} == {"UC"}
    counts = proxy.worker.cluster("up").counts
    assert (counts.rq_active, counts.cx_active) == (0, 0)


async def test_a_connection_that_ended_as_the_request_left_is_no_error_for_what_may_be_repeated(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    async def second_breaks(peer: H2Peer, stream: Stream) -> None:
        if len(h2_origin.requests) == 2:
            peer.writer.transport.abort()
        else:
            peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.handler = second_breaks
    connection = await client.connect(await serve(proxy, h2_origin.address))
    assert (await connection.get()).status == 200
    assert (await connection.get()).status == 200
    assert len(h2_origin.requests) == 3


async def test_a_client_that_leaves_resets_its_stream_alone(
    proxy: Proxy, h2_origin: H2Origin, client: Client, eventually: Eventually
) -> None:
    go_on = asyncio.Event()

    async def gate(peer: H2Peer, stream: Stream) -> None:
        await go_on.wait()
        if stream.reset is None:
            peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.handler = gate
    address = await serve(proxy, h2_origin.address)
    leaves, stays = await client.connect(address), await client.connect(address)
    await leaves.send(b"GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n")
    await stays.send(b"GET /stays HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: len(h2_origin.requests) == 2, "both requests reach the upstream")

    await leaves.close()
    await eventually(lambda: h2_origin.requests[0].reset is not None, "the stream is reset")
    go_on.set()

    assert h2_origin.requests[0].reset == h2.errors.ErrorCodes.CANCEL
    assert (await stays.answer()).status == 200
    assert len(h2_origin.peers) == 1


async def test_an_upstream_that_opens_no_window_pauses_the_client(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    size = 8 * 1024 * 1024
    go_on = asyncio.Event()

    async def greedy_later(peer: H2Peer, stream: Stream) -> None:
        await go_on.wait()
        peer.greedy = True
        peer.acknowledge(stream)
        peer.flush()
        await whole(peer, stream)
        peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.greedy = False
    h2_origin.handler = greedy_later
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    stream = peer.open(get(method=b"POST"), end=False)
    sending = asyncio.ensure_future(peer.send(stream, b"x" * size, end=True))
    await asyncio.sleep(0.3)
    assert not sending.done()
    assert peer.h2.local_flow_control_window(stream.id) == 0, "the proxy took a window's worth, no more"
    go_on.set()

    await sending
    assert (await peer.answer(stream)).status == 200
    assert len(h2_origin.requests[0].body) == size


async def test_a_slow_http_1_client_pauses_its_stream_alone(proxy: Proxy, h2_origin: H2Origin, client: Client) -> None:
    size = 16 * 1024 * 1024
    sent = 0

    async def flood(peer: H2Peer, stream: Stream) -> None:
        nonlocal sent
        if stream.get(b":path") == b"/small":
            peer.send_head(stream, [(b":status", b"204")], end=True)
            return
        peer.send_head(stream, [(b":status", b"200"), (b"content-length", b"%d" % size)])
        for _ in range(size // 65536):
            await peer.send(stream, b"x" * 65536)
            sent += 65536
        peer.h2.end_stream(stream.id)
        peer.flush()

    h2_origin.handler = flood
    address = await serve(proxy, h2_origin.address)
    slow, quick = await client.connect(address), await client.connect(address)
    slow.reader._limit = 1024  # type: ignore[attr-defined]  # reads no more than it is asked for
    await slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < size

    assert (await quick.get("/small")).status == 204
    assert len((await slow.answer()).body) == size


async def test_an_idle_connection_is_closed_by_us(
    proxy: Proxy, h2_origin: H2Origin, client: Client, eventually: Eventually
) -> None:
    connection = await client.connect(await serve(proxy, h2_origin.address, idle_timeout_s=0.1))
    assert (await connection.get()).status == 200

    await eventually(lambda: not h2_origin.open, "the idle connection is closed")
    assert h2_origin.peers[0].goaways == [(0, 0)]
    assert (await connection.get()).status == 200


async def test_a_connection_is_replaced_after_so_many_requests(
    proxy: Proxy, h2_origin: H2Origin, client: Client
) -> None:
    connection = await client.connect(await serve(proxy, h2_origin.address, max_requests_per_connection=2))
    for _ in range(6):
        assert (await connection.get()).status == 200
    assert len(h2_origin.peers) == 3


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([(b":status", b"200"), (b"x", b"a\r\nb: c")], id="CR and LF in a value"),
        pytest.param([(b":status", b"200"), (b"Upper", b"1")], id="upper case"),
        pytest.param([(b":status", b"99x")], id="a status that is none"),
        pytest.param([(b"x", b"1")], id="no status"),
        pytest.param([(b":status", b"200"), (b"connection", b"close")], id="Connection"),
    ],
)
async def test_what_is_no_answer_is_502_upe(
    proxy: Proxy, h2_origin: H2Origin, client: Client, raw: list[tuple[bytes, bytes]]
) -> None:
    async def garbage(peer: H2Peer, stream: Stream) -> None:
        if len(h2_origin.requests) == 1:
            peer.send_head(stream, raw, end=True)
        else:
            peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.handler = garbage
    connection = await client.connect(await serve(proxy, h2_origin.address))

    assert (await connection.get()).status == 502
    assert proxy.records[0].flags == "UPE"
    assert (await connection.get()).status == 200
    counts = proxy.worker.cluster("up").counts
    assert counts.rq_active == 0


async def test_a_removed_cluster_lets_its_streams_finish_and_closes(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    gate = h2_origin.handler = H2Gate()
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    stream = peer.open(get())
    await eventually(lambda: h2_origin.requests, "the request reaches the upstream")
    await proxy.apply(clusters=(), listeners=())
    gate.open()

    assert (await peer.answer(stream)).status == 200
    await eventually(lambda: not h2_origin.open, "the connection is closed")


async def test_clients_that_give_up_much_do_not_cost_others_their_connection(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    """A sidecar bears so many resets on a connection; a gateway's clients share it."""
    go = asyncio.Event()

    async def when_told(peer: H2Peer, stream: Stream) -> None:
        await go.wait()
        peer.send_head(stream, [(b":status", b"200")], end=True)

    h2_origin.handler = when_told
    address = await serve(proxy, h2_origin.address)
    patient = await h2_client.connect(address)
    long = patient.open(get("/long", method=b"POST"))
    hasty = await h2_client.connect(address)
    for _ in range(8):
        before = len(h2_origin.requests)
        streams = [hasty.open(get()) for _ in range(50)]
        await eventually(lambda before=before: len(h2_origin.requests) >= before + 50, "the upstream has them")
        for stream in streams:
            hasty.reset(stream)
    await eventually(lambda: proxy.worker.cluster("up").counts.rq_active == 1, "only the patient one is left")

    worst = max(sum(stream.reset is not None for stream in peer.streams.values()) for peer in h2_origin.peers)
    assert worst <= 250
    go.set()
    assert (await patient.answer(long)).status == 200
    assert sum(stream.reset is not None for stream in h2_origin.requests) == 400
