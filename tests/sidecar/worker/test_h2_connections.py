"""HTTP/2 connections as such: how they are recognised, drain, time out, break; ALPN on both sides; curl as a client."""

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import h2.errors
import pytest

from sidecar.config.cluster import Protocol, UpstreamTls
from sidecar.config.endpoint import Address
from sidecar.config.listener import Codec, Direction, DownstreamTls, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied
from tests.sidecar.net.authority import Authority, Leaf
from tests.sidecar.worker.h2_peers import H2Client, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.peers import Client, Gate, Incoming, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
WEB = "spiffe://cluster.local/ns/default/sa/web"


async def serve(proxy: Proxy, upstream: Address, **http: object) -> Address:
    address = proxy.bind()
    answer = await proxy.apply(
        clusters=(cluster("up", upstream),),
        listeners=(plain_listener("in", address, everything(forward_to("up")), **http),),
    )
    assert isinstance(answer, Applied), answer
    return address


# whose turn it is


FIELDS = b"\x82\x86\x84" + b"\0\0\0" * 5_000
PING, PONG = b"\0\0\x08\6\0\0\0\0\0whenread", b"\0\0\x08\6\1\0\0\0\0whenread"


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        pytest.param(
            PREFACE
            + SETTINGS
            + b"".join(
                len(FIELDS).to_bytes(3) + b"\1\5" + stream.to_bytes(4) + FIELDS for stream in range(1, 2 * 400, 2)
            )
            + PING,
            PONG,
            id="heads of 5,000 fields",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\na\r\n" * 1_400_000
            + b"0\r\n\r\n",
            b"\r\n\r\nok",
            id="chunks of one byte",
        ),
    ],
)
async def test_a_client_whose_bytes_cost_much_gives_others_their_turn(
    proxy: Proxy, origin: Origin, sent: bytes, end: bytes
) -> None:
    """The kernel has megabytes of one connection ready at once."""
    address = await serve(proxy, origin.address)

    def flood() -> None:
        with socket.create_connection((address.host, address.port), timeout=30) as connection:
            connection.sendall(sent)
            received = b""
            while not received.endswith(end):
                received += connection.recv(65536)

    flooding = asyncio.create_task(asyncio.to_thread(flood))
    before = began = time.thread_time()
    longest = 0.0
    while not flooding.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    await flooding
    assert longest < (before - began) / 3


# which protocol


@pytest.mark.parametrize("cut", [1, 3, 4, 14, 18, 23, 24, 30])
async def test_the_preface_is_recognised_in_pieces(proxy: Proxy, origin: Origin, client: Client, cut: int) -> None:
    connection = await client.connect(await serve(proxy, origin.address))
    data = PREFACE + SETTINGS
    await connection.send(data[:cut])
    await asyncio.sleep(0.02)
    await connection.send(data[cut:])
    head = await asyncio.wait_for(connection.reader.readexactly(9), 5.0)
    assert head[3] == 4, "SETTINGS"


@pytest.mark.parametrize("method", ["PUT", "POST", "PROPFIND", "P"])
async def test_what_only_begins_like_the_preface_is_http_1(
    proxy: Proxy, origin: Origin, client: Client, method: str
) -> None:
    connection = await client.connect(await serve(proxy, origin.address))
    for piece in (method[0].encode(), f"{method[1:]} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()):
        await connection.send(piece)
        await asyncio.sleep(0.02)
    assert (await connection.answer()).status == (400 if method == "P" else 200)


async def test_a_listener_may_speak_http_1_alone(proxy: Proxy, origin: Origin, client: Client) -> None:
    connection = await client.connect(await serve(proxy, origin.address, codec=Codec.HTTP1))
    await connection.send(PREFACE + SETTINGS)
    assert (await connection.answer()).status == 400


async def test_a_listener_may_speak_http_2_alone(
    proxy: Proxy, origin: Origin, client: Client, h2_client: H2Client
) -> None:
    address = await serve(proxy, origin.address, codec=Codec.HTTP2)
    connection = await client.connect(address)
    await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"HTTP/1.1" not in await connection.closed()
    assert proxy.records[0].flags == "DPE"
    peer = await h2_client.connect(address)
    assert (await peer.answer(peer.open(get()))).status == 200


async def serve_tls(proxy: Proxy, upstream: Address, authority: Authority, *alpn: str) -> Address:
    address = proxy.bind()
    chain = FilterChain(
        TransportMatch.ANY,
        Http(routes=everything(forward_to("up")), trust_forwarded=True),
        DownstreamTls("default", alpn=alpn),
    )
    answer = await proxy.apply(
        clusters=(cluster("up", upstream),),
        listeners=(Listener("in", address, Direction.GATEWAY, (chain,)),),
        certificates=(authority.issue(Leaf(uris=(WEB,), dns=("a.example",))),),
    )
    assert isinstance(answer, Applied), answer
    return address


def context(authority: Authority, *alpn: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=authority.pem)
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


async def test_alpn_chooses(proxy: Proxy, origin: Origin, client: Client, h2_client: H2Client) -> None:
    authority = Authority()
    address = await serve_tls(proxy, origin.address, authority, "h2", "http/1.1")

    peer = await h2_client.connect(address, context(authority, "h2", "http/1.1"))
    assert (await peer.answer(peer.open(get()))).status == 200
    connection = await client.connect(address, context(authority, "http/1.1"))
    assert (await connection.get()).status == 200
    silent = await client.connect(address, context(authority))
    assert (await silent.get()).status == 200
    assert [record.protocol for record in proxy.records] == ["HTTP/2", "HTTP/1.1", "HTTP/1.1"]


@pytest.mark.parametrize(
    ("offered", "protocol", "spoken"),
    [
        pytest.param(("h2", "http/1.1"), Protocol.AUTO, "h2", id="what both speak best"),
        pytest.param(("http/1.1",), Protocol.AUTO, "http/1.1", id="HTTP/1.1 where the upstream knows no other"),
        pytest.param((), Protocol.AUTO, "http/1.1", id="HTTP/1.1 where the upstream says nothing"),
        pytest.param(("h2", "http/1.1"), Protocol.HTTP2, "h2", id="HTTP/2 by configuration"),
        pytest.param(("h2", "http/1.1"), Protocol.HTTP1, "http/1.1", id="HTTP/1.1 by configuration"),
    ],
)
async def test_an_upstream_s_protocol_by_alpn(
    proxy: Proxy, client: Client, tmp_path: Path, offered: tuple[str, ...], protocol: Protocol, spoken: str
) -> None:
    authority = Authority()
    leaf = authority.issue(Leaf(uris=(WEB,)))
    path = tmp_path / "server.pem"
    path.write_text(leaf.key_pem + leaf.chain_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    if offered:
        server.set_alpn_protocols(list(offered))
    origin: Origin | H2Origin = H2Origin(server) if spoken == "h2" else Origin(server)
    await origin.start()
    address = proxy.bind()
    tls = UpstreamTls("a.example", None, "ROOTCA", (WEB,))
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address, tls=tls, protocol=protocol),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(answer, Applied), answer
    connection = await client.connect(address)
    try:
        assert [(await connection.get()).status for _ in range(3)] == [200, 200, 200]
        assert len(origin.requests) == 3
        assert proxy.worker.cluster("up").counts.cx_total == 1
    finally:
        await origin.close()


# drain


async def test_draining_says_goodbye_and_lets_streams_finish(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    gate = origin.handler = Gate()
    peer = await h2_client.connect(await serve(proxy, origin.address))
    stream = peer.open(get())
    await eventually(lambda: origin.requests, "the request reaches the upstream")

    draining = asyncio.ensure_future(proxy.worker.drain(5.0))
    await peer.until(lambda: len(peer.goaways) == 2, "both GOAWAYs")
    assert peer.goaways == [(2**31 - 1, 0), (1, 0)]
    assert not draining.done()
    gate.open()

    assert (await peer.answer(stream)).status == 200
    await draining
    await eventually(lambda: peer.closed, "the connection closes")
    assert [record.flags for record in proxy.records] == [""]


async def test_a_request_that_crosses_the_first_goaway_is_served(
    proxy: Proxy, origin: Origin, h2_client: H2Client
) -> None:
    peer = await h2_client.connect(await serve(proxy, origin.address))
    assert (await peer.answer(peer.open(get()))).status == 200

    draining = asyncio.ensure_future(proxy.worker.drain(5.0))
    await asyncio.sleep(0)
    stream = peer.open(get("/late"))

    assert (await peer.answer(stream)).status == 200
    await draining


# time


async def test_an_idle_connection_is_closed(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    peer = await h2_client.connect(await serve(proxy, origin.address, idle_timeout_s=0.2))
    assert (await peer.answer(peer.open(get()))).status == 200
    await eventually(lambda: peer.closed, "the connection closes")
    assert peer.goaways[-1][1] == h2.errors.ErrorCodes.NO_ERROR


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(PREFACE[:10], id="the preface"),
        pytest.param(PREFACE, id="SETTINGS"),
        pytest.param(PREFACE + SETTINGS + b"\0\0\x20\1\4\0\0\0\1\x82", id="HEADERS"),
        pytest.param(PREFACE + SETTINGS + b"\0\0\1\1\0\0\0\0\1\x82", id="CONTINUATION"),
    ],
)
async def test_a_head_that_does_not_come_whole_is_timed_out(
    proxy: Proxy, origin: Origin, client: Client, piece: bytes
) -> None:
    connection = await client.connect(await serve(proxy, origin.address, request_headers_timeout_s=0.2))
    await connection.send(piece)
    await connection.closed()
    assert len(proxy.records) == 1
    assert not origin.requests


async def test_a_stream_on_which_nothing_moves_is_timed_out_and_the_others_go_on(
    proxy: Proxy, origin: Origin, h2_client: H2Client
) -> None:
    async def some_never(incoming: Incoming) -> None:
        if incoming.request.target == b"/never":
            await incoming.reader.read()
        else:
            await incoming.answer()

    origin.handler = some_never
    peer = await h2_client.connect(await serve(proxy, origin.address, stream_idle_timeout_s=0.2))
    stream = await peer.answer(peer.open(get("/never")))
    assert (stream.status, bytes(stream.body)) == (504, b"stream timeout")
    assert proxy.records[0].flags == "SI"
    assert (await peer.answer(peer.open(get("/")))).status == 200


async def test_an_answer_that_a_client_never_takes_is_given_up(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    async def large(incoming: Incoming) -> None:
        await incoming.answer(200, b"x" * 100_000)

    origin.handler = large
    peer = await h2_client.connect(await serve(proxy, origin.address, stream_idle_timeout_s=0.3))
    peer.greedy = False
    stream = peer.open(get())
    await eventually(lambda: stream.reset is not None, "the stream is given up", within=10.0)
    assert not proxy.worker.listeners[0].in_flight


# broken connections


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\0\0\4\0\1\0\0\0\0abcd", id="DATA on no stream"),
        pytest.param(b"\0\0\1\1\5\0\0\0\1\xff", id="broken HPACK"),
        pytest.param(b"\0\x50\0\0\0\0\0\0\1", id="a frame beyond the maximum"),
        pytest.param(b"\0\0\4\x03\0\0\0\0\1\0\0\0\1", id="RST_STREAM of an idle stream"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told_recorded_and_closed(
    proxy: Proxy, origin: Origin, client: Client, frame: bytes
) -> None:
    connection = await client.connect(await serve(proxy, origin.address))
    await connection.send(PREFACE + SETTINGS + frame)

    said = await connection.closed()

    assert b"\x07\0\0\0\0\0" in said, "GOAWAY"
    (record,) = proxy.records
    assert (record.status, record.flags, record.protocol) == (0, "DPE", "HTTP/2")
    assert record.details.startswith("http2.")
    other = await client.connect(proxy.snapshot.listeners[0].address)
    assert (await other.get()).status == 200


async def test_a_broken_connection_takes_its_streams_along(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    async def never(incoming: Incoming) -> None:
        await incoming.reader.read()

    origin.handler = never
    peer = await h2_client.connect(await serve(proxy, origin.address))
    for _ in range(3):
        peer.open(get())
    await eventually(lambda: len(origin.requests) == 3, "the requests reach the upstream")
    peer.writer.write(b"\0\0\4\0\1\0\0\0\0abcd")

    await eventually(lambda: len(proxy.records) == 3, "all are recorded")
    assert {record.flags for record in proxy.records} == {"DPE"}
    await eventually(lambda: not origin.open, "their upstream connections are closed")
    assert proxy.worker.cluster("up").counts.rq_active == 0


async def test_a_client_that_vanishes_is_recorded_for_each_stream(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    async def never(peer: H2Peer, stream: Stream) -> None:
        return

    h2_origin.handler = never
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", h2_origin.address, protocol=Protocol.HTTP2),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    peer = await h2_client.connect(address)
    for _ in range(3):
        peer.open(get())
    await eventually(lambda: len(h2_origin.requests) == 3, "the requests reach the upstream")
    peer.writer.transport.abort()

    await eventually(lambda: len(proxy.records) == 3, "all are recorded")
    assert {(record.status, record.flags) for record in proxy.records} == {(0, "DC")}
    await eventually(
        lambda: all(each.reset is not None for each in h2_origin.requests), "the upstream's streams are reset"
    )
    assert h2_origin.open == 1, "the upstream's connection stays"


# a real client


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.parametrize("body_bytes", [0, 5, 3_000_000])
async def test_curl_with_prior_knowledge(proxy: Proxy, origin: Origin, tmp_path: Path, body_bytes: int) -> None:
    async def say_back(incoming: Incoming) -> None:
        await incoming.answer(200, await incoming.body())

    origin.handler = say_back
    address = await serve(proxy, origin.address)
    body = tmp_path / "body"
    body.write_bytes(b"x" * body_bytes)
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--http2-prior-knowledge", "--data-binary", f"@{body}", "-w", "%{http_version} %{http_code}",
        f"http://{address.host}:{address.port}/", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await curl.communicate()
    assert said == b"x" * body_bytes + b"2 200"
    assert proxy.records[0].protocol == "HTTP/2"
