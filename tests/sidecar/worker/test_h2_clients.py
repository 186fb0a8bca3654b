"""Clients that speak HTTP/2, an upstream that speaks HTTP/1.1: requests, answers, back-pressure, ends of all kinds."""

import asyncio
from collections.abc import Awaitable, Callable

import h2.errors
import pytest

from sidecar.config.messages import Applied
from tests.sidecar.worker.h2_peers import H2Client, H2Peer, get
from tests.sidecar.worker.peers import Incoming, Origin, answering
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def peer(proxy: Proxy, origin: Origin, h2_client: H2Client) -> H2Peer:
    """A connection to a listener that forwards everything to `origin`."""
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    assert isinstance(answer, Applied), answer
    return await h2_client.connect(address)


async def test_a_request_is_forwarded_and_its_answer_comes_back(peer: H2Peer, proxy: Proxy, origin: Origin) -> None:
    origin.handler = answering(200, b"hello", "X-One: 1")

    stream = await peer.answer(peer.open(get("/path?q=1", (b"x-two", b"2"))))

    assert (stream.status, stream.body, stream.get(b"x-one"), stream.get(b"server")) == (200, b"hello", b"1", b"remora")
    assert stream.get(b"content-length") == b"5"
    (request,) = origin.requests
    assert request.start == b"GET /path?q=1 HTTP/1.1"
    assert (request.get(b"host"), request.get(b"x-two")) == (b"a.example", b"2")
    assert request.get(b"x-forwarded-proto") == b"http"
    (record,) = proxy.records
    assert (record.status, record.protocol, record.flags, record.bytes_sent) == (200, "HTTP/2", "", 5)


async def test_many_streams_share_a_connection(peer: H2Peer, origin: Origin) -> None:
    streams = [peer.open(get(f"/{number}")) for number in range(50)]
    for stream in streams:
        assert (await peer.answer(stream)).body == b"ok"
    assert {request.target for request in origin.requests} == {b"/%d" % number for number in range(50)}


async def test_a_body_of_unknown_length_becomes_chunks_and_its_trailers_follow(peer: H2Peer, origin: Origin) -> None:
    raw = b""

    async def keep(incoming: Incoming) -> None:
        nonlocal raw
        raw = await incoming.reader.readuntil(b"0\r\nx-sum: 7\r\n\r\n")
        await incoming.answer()

    origin.handler = keep
    stream = peer.open(get("/", method=b"POST"), end=False)
    await peer.send(stream, b"some")
    peer.send_head(stream, [(b"x-sum", b"7"), (b"authorization", b"no")], end=True)

    assert (await peer.answer(stream)).status == 200
    assert raw == b"4\r\nsome\r\n0\r\nx-sum: 7\r\n\r\n"
    assert origin.requests[0].get(b"transfer-encoding") == b"chunked"


async def test_a_declared_length_is_kept(peer: H2Peer, origin: Origin) -> None:
    stream = peer.open(get("/", (b"content-length", b"4"), method=b"PUT"), end=False)
    await peer.send(stream, b"body", end=True)

    assert (await peer.answer(stream)).status == 200
    assert (origin.requests[0].get(b"content-length"), origin.requests[0].body) == (b"4", b"body")


async def test_crumbs_of_cookies_become_one(peer: H2Peer, origin: Origin) -> None:
    await peer.answer(peer.open(get("/", (b"cookie", b"a=1"), (b"cookie", b"b=2"))))
    assert origin.requests[0].values(b"cookie") == [b"a=1; b=2"]


async def test_1xx_answers_are_passed_on(peer: H2Peer, origin: Origin) -> None:
    async def hint(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await incoming.answer()

    origin.handler = hint
    stream = await peer.answer(peer.open(get()))
    assert stream.informational == [[(b":status", b"103"), (b"link", b"</a>")]]
    assert stream.status == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_end_with_their_head(peer: H2Peer, origin: Origin, status: int) -> None:
    async def bare(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 %d X\r\n\r\n" % status)

    origin.handler = bare
    stream = await peer.answer(peer.open(get()))
    assert (stream.status, stream.body, stream.reset) == (status, b"", None)


async def test_an_answer_to_head_tells_the_length_it_would_have(peer: H2Peer, origin: Origin) -> None:
    async def bare(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")

    origin.handler = bare
    stream = await peer.answer(peer.open(get(method=b"HEAD")))
    assert (stream.status, stream.get(b"content-length"), stream.body) == (200, b"77", b"")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param(get(host=b"-a-"), 400, id="a host that is none"),
        pytest.param(get("/\xe9"), 400, id="a path that is not ASCII"),
        pytest.param(get("/%00"), 400, id="an escaped NUL in the path"),
        pytest.param(get("/" + "x" * 20_000), 414, id="a path that is too long"),
        pytest.param(get("/", (b"expect", b"something")), 417, id="an unknown expectation"),
        pytest.param([(b":method", b"CONNECT"), (b":authority", b"a.example:443")], 403, id="CONNECT"),
        pytest.param([(b":method", b"GET"), (b":scheme", b"ftp"), (b":authority", b"a"), (b":path", b"/")], 400,
                     id="another scheme"),
    ],
)  # fmt: skip
async def test_what_is_no_request_for_us_is_answered_and_never_forwarded(
    peer: H2Peer, proxy: Proxy, origin: Origin, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    stream = await peer.answer(peer.open(fields))

    assert (stream.status, stream.reset) == (status, None)
    assert not origin.requests
    assert proxy.records[0].status == status
    assert (await peer.answer(peer.open(get()))).status == 200


@pytest.mark.parametrize(
    "field",
    [
        pytest.param((b"x", b"a\r\nb: c"), id="CR and LF in a value"),
        pytest.param((b"x", b"a\nb"), id="LF in a value"),
        pytest.param((b"x", b"a\0b"), id="NUL in a value"),
        pytest.param((b"x y", b"1"), id="a space in a name"),
        pytest.param((b"x\r\ny", b"1"), id="CR and LF in a name"),
        pytest.param((b"X-Upper", b"1"), id="upper case"),
        pytest.param((b"transfer-encoding", b"chunked"), id="Transfer-Encoding"),
        pytest.param((b"te", b"gzip"), id="TE other than trailers"),
        pytest.param((b"connection", b"close"), id="Connection"),
        pytest.param((b"content-length", b"5"), id="a Content-Length that is not the body's"),
        pytest.param((b":path", b"/again"), id="a second path"),
    ],
)
async def test_a_malformed_request_is_reset_recorded_and_never_forwarded(
    peer: H2Peer, proxy: Proxy, origin: Origin, field: tuple[bytes, bytes]
) -> None:
    stream = await peer.answer(peer.open(get("/", field)))

    assert stream.reset == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert not origin.requests
    (record,) = proxy.records
    assert (record.status, record.flags, record.protocol) == (0, "DPE", "HTTP/2")
    assert record.details.startswith("http2.")
    assert (await peer.answer(peer.open(get()))).status == 200


async def test_a_stream_that_the_client_resets_is_given_up_upstream(
    peer: H2Peer, proxy: Proxy, origin: Origin, eventually: Eventually
) -> None:
    async def never(incoming: Incoming) -> None:
        await incoming.reader.read()

    origin.handler = never
    stream = peer.open(get())
    await eventually(lambda: origin.requests, "the request reaches the upstream")

    peer.reset(stream)

    await eventually(lambda: not origin.open, "the upstream's connection is closed")
    (record,) = proxy.records
    assert (record.status, record.flags, record.details) == (0, "DC", "http2.remote_reset")
    assert proxy.worker.cluster("up").counts.rq_active == 0
    origin.handler = answering()
    assert (await peer.answer(peer.open(get()))).status == 200


async def test_an_upstream_that_breaks_off_never_looks_like_a_whole_answer(
    peer: H2Peer, proxy: Proxy, origin: Origin
) -> None:
    async def break_off(incoming: Incoming) -> None:
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        incoming.close()

    origin.handler = break_off
    stream = await peer.answer(peer.open(get()))

    assert (stream.status, stream.ended) == (200, False)
    assert stream.reset == h2.errors.ErrorCodes.INTERNAL_ERROR
    assert proxy.records[0].flags == "UC"
    origin.handler = answering()
    assert (await peer.answer(peer.open(get()))).status == 200


async def test_an_answer_before_the_request_is_whole_ends_the_stream_without_an_error(
    peer: H2Peer, origin: Origin
) -> None:
    async def early(incoming: Incoming) -> None:
        await incoming.answer(413, b"no")
        await incoming.reader.read()

    origin.handler = early
    stream = peer.open(get("/", method=b"POST"), end=False)
    await peer.send(stream, b"x" * 1000)

    await peer.until(lambda: stream.reset is not None, "the reset that says that nothing more is wanted")
    assert (stream.status, stream.body, stream.reset) == (413, b"no", h2.errors.ErrorCodes.NO_ERROR)


async def test_a_client_that_opens_no_window_pauses_the_upstream(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    sent = 0
    size = 32 * 1024 * 1024

    async def flood(incoming: Incoming) -> None:
        nonlocal sent
        await incoming.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await incoming.raw(b"x" * 65536)
            sent += 65536

    origin.handler = flood
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    peer = await h2_client.connect(address)
    peer.greedy = False
    stream = peer.open(get())
    await peer.until(lambda: len(stream.body) == 65535, "the first window")
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < size // 2, "socket buffers and 64 KiB, no more"

    peer.greedy = True
    peer.acknowledge(stream)
    peer.flush()
    await peer.until(lambda: stream.ended, "the whole answer")
    assert len(stream.body) == size
