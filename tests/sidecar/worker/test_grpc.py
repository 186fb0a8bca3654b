"""grpcio's own client and server through two workers with mutual TLS: all kinds of calls, deadlines, cancelling, size.

Client and server run in threads of their own: what is tested is between them.
"""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc
import pytest

from mesh.records import Workload
from sidecar.config.cluster import Protocol, Service, UpstreamTls
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied, Growth, Metrics
from sidecar.config.route import RetryOn, RetryPolicy
from sidecar.config.snapshot import Node
from tests.sidecar.net.authority import Authority, Leaf
from tests.sidecar.worker.h2_peers import H2Client, H2Origin, H2Peer, Stream, get
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener, running_proxy

WEB = "spiffe://cluster.local/ns/default/sa/web"
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
LARGE = 4 * 1024 * 1024 - 1024

Eventually = Callable[..., Awaitable[None]]


class Echo(grpc.GenericRpcHandler):
    """/test.Echo/*: messages are bytes."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.began = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        kinds = {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/test.Echo/Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "/test.Echo/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/test.Echo/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "/test.Echo/Wait": grpc.unary_unary_rpc_method_handler(self.wait),
        }
        return kinds.get(details.method)

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-trailer", "yes"),))
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 %")

    def collect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield b"re: " + request

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.began.set()
        self.cancelled.wait(10.0)
        return b""


@pytest.fixture
def service() -> Echo:
    return Echo()


@pytest.fixture
def server(service: Echo) -> Iterator[Address]:
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Address("127.0.0.1", port)
    service.cancelled.set()
    server.stop(None).wait()


@pytest.fixture
async def second() -> AsyncIterator[Proxy]:
    """The worker on the client's side."""
    async with running_proxy() as running:
        yield running


@pytest.fixture
async def entrance(proxy: Proxy, second: Proxy, server: Address) -> Address:
    """Where the client's worker listens: from there by mutual TLS to the server's worker, then to the server."""
    authority = Authority()
    inbound, outbound = proxy.bind(), second.bind()
    chain = FilterChain(
        TransportMatch.TLS,
        Http(routes=everything(forward_to("app")), trust_forwarded=True),
        DownstreamTls("default", "ROOTCA", True, alpn=("h2", "http/1.1"), trust_domains=("cluster.local",)),
    )
    echo = Service("echo.default.svc.cluster.local", "echo", "default")
    served = await proxy.apply(
        node=Node(id="sidecar~reviews", workload=Workload(name="reviews", principal=REVIEWS), peer_metadata="cmV2"),
        clusters=(cluster("app", server, protocol=Protocol.HTTP2, service=echo),),
        listeners=(Listener("virtualInbound", inbound, Direction.INBOUND, (chain,), detect_tls=True),),
        certificates=(authority.issue(Leaf(uris=(REVIEWS,))),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(served, Applied), served
    tls = UpstreamTls("outbound_.80_._.echo", "default", "ROOTCA", (REVIEWS,), only_where_offered=True)
    hop = replace(
        cluster("echo", tls=tls, protocol=Protocol.HTTP2, service=echo), endpoints=(Endpoint(inbound, tls=True),)
    )
    called = await second.apply(
        node=Node(id="sidecar~web", workload=Workload(name="web", principal=WEB), peer_metadata="d2Vi"),
        clusters=(hop,),
        listeners=(plain_listener("out", outbound, everything(forward_to("echo")), direction=Direction.OUTBOUND),),
        certificates=(authority.issue(),),
        trust_anchors=(authority.anchors(),),
    )
    assert isinstance(called, Applied), called
    return outbound


@pytest.fixture
async def channel(entrance: Address) -> AsyncIterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0)]
    opened = grpc.insecure_channel(f"{entrance.host}:{entrance.port}", options=options)
    yield opened
    await asyncio.to_thread(opened.close)


async def unary(channel: grpc.Channel, method: str, request: bytes, timeout: float = 10.0) -> Any:
    return await asyncio.to_thread(channel.unary_unary(f"/test.Echo/{method}"), request, timeout=timeout)


async def test_a_unary_call(channel: grpc.Channel, proxy: Proxy, second: Proxy) -> None:
    assert await unary(channel, "Unary", b"hello") == b"hello"

    for hop in (proxy, second):
        (record,) = hop.records
        assert (record.status, record.grpc_status, record.protocol, record.flags) == (200, 0, "HTTP/2", "")
        assert record.url == b"/test.Echo/Unary"
    assert proxy.records[0].source_principal == WEB


async def test_trailing_metadata_arrives(channel: grpc.Channel) -> None:
    def call() -> dict[str, Any]:
        _, outcome = channel.unary_unary("/test.Echo/Unary").with_call(b"x", timeout=10.0)
        return dict(outcome.trailing_metadata())

    assert (await asyncio.to_thread(call))["x-trailer"] == "yes"


async def test_a_stream_of_requests(channel: grpc.Channel) -> None:
    call = channel.stream_unary("/test.Echo/Collect")
    parts = [b"%d," % number for number in range(100)]
    assert await asyncio.to_thread(call, iter(parts), timeout=10.0) == b"".join(parts)


async def test_a_stream_of_answers(channel: grpc.Channel) -> None:
    call = channel.unary_stream("/test.Echo/Count")
    answers = await asyncio.to_thread(lambda: list(call(b"100", timeout=10.0)))
    assert answers == [b"%d" % number for number in range(100)]


async def test_both_sides_stream_and_answers_come_before_the_request_ends(channel: grpc.Channel) -> None:
    def talk() -> list[bytes]:
        heard: list[bytes] = []
        may_ask = threading.Semaphore(1)

        def questions() -> Iterator[bytes]:
            for number in range(20):
                assert may_ask.acquire(timeout=5.0)
                yield b"%d" % number

        for answer in channel.stream_stream("/test.Echo/Chat")(questions(), timeout=10.0):
            heard.append(answer)
            may_ask.release()
        return heard

    assert await asyncio.to_thread(talk) == [b"re: %d" % number for number in range(20)]


async def test_messages_of_four_megabytes(channel: grpc.Channel) -> None:
    body = bytes(range(256)) * (LARGE // 256)
    assert await unary(channel, "Unary", body) == body


async def test_many_calls_at_once(channel: grpc.Channel, second: Proxy) -> None:
    answers = await asyncio.gather(*(unary(channel, "Unary", b"%d" % number) for number in range(64)))
    assert answers == [b"%d" % number for number in range(64)]
    assert second.worker.cluster("echo").counts.cx_total == 1


async def test_a_status_of_the_server_arrives_and_is_recorded(
    channel: grpc.Channel, proxy: Proxy, second: Proxy
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        await unary(channel, "Fail", b"")

    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.value.details() == "not now: 100 %"
    assert [hop.records[0].grpc_status for hop in (proxy, second)] == [9, 9]


async def test_an_unknown_method_is_the_server_s_to_refuse(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        await unary(channel, "Nothing", b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_ends_the_call_everywhere(
    channel: grpc.Channel, service: Echo, proxy: Proxy, second: Proxy, eventually: Eventually
) -> None:
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        await unary(channel, "Wait", b"", timeout=0.3)

    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2.0
    await eventually(service.cancelled.is_set, "the server is told")
    await eventually(lambda: proxy.records and second.records, "both hops record the call")
    # Whose clock runs out first ends it: the proxy's (UT), the client's (DC) or the server's own.
    for hop in (proxy, second):
        (record,) = hop.records
        assert (record.grpc_status, record.flags) in {(4, "UT"), (1, "DC"), (4, "")}
    assert second.worker.cluster("echo").counts.rq_active == 0


async def test_a_cancelled_call_is_cancelled_at_the_server(
    channel: grpc.Channel, service: Echo, proxy: Proxy, eventually: Eventually
) -> None:
    call = channel.unary_unary("/test.Echo/Wait").future(b"", timeout=10.0)
    await eventually(service.began.is_set, "the call reaches the server")

    call.cancel()

    await eventually(service.cancelled.is_set, "the server is told")
    await eventually(lambda: proxy.records, "the call is recorded")
    assert (proxy.records[0].flags, proxy.records[0].grpc_status) == ("DC", 1)


async def test_messages_are_counted(channel: grpc.Channel, proxy: Proxy, second: Proxy) -> None:
    await unary(channel, "Unary", b"x")
    collect = channel.stream_unary("/test.Echo/Collect")
    await asyncio.to_thread(collect, iter([b"a" * 40_000, b"", b"b"]), timeout=10.0)

    for hop, reporter in ((proxy, "destination"), (second, "source")):
        counted = {(growth.name, dict(growth.labels)["reporter"]): growth.value for growth in message_growth(hop)}
        assert counted == {
            ("istio_request_messages_total", reporter): 4,
            ("istio_response_messages_total", reporter): 2,
        }
        labels = dict(message_growth(hop)[0].labels)
        assert labels["destination_service"] == "echo.default.svc.cluster.local"
        assert list(labels)[-1] == "destination_cluster"


async def test_messages_of_a_call_that_goes_on_are_counted_with_each_report_and_once(
    channel: grpc.Channel, proxy: Proxy, second: Proxy, eventually: Eventually
) -> None:
    questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    chat = channel.stream_stream("/test.Echo/Chat")(iter(questions.get, None), timeout=20.0)

    async def ask(count: int) -> None:
        for _ in range(count):
            questions.put(b"x")
            assert await asyncio.to_thread(next, chat) == b"re: x"

    def counted(hop: Proxy) -> dict[str, int]:
        found: dict[str, int] = {}
        for growth in message_growth(hop):
            found[growth.name] = found.get(growth.name, 0) + growth.value
        return found

    def messages(count: int) -> dict[str, int]:
        return dict.fromkeys(("istio_request_messages_total", "istio_response_messages_total"), count)

    for asked in (5, 12):
        await ask(asked - sum(counted(proxy).values()) // 2)
        for hop in (proxy, second):
            assert counted(hop) == messages(asked), "while the call goes on"
            assert not hop.records
    questions.put(b"last")
    questions.put(None)
    assert await asyncio.to_thread(lambda: list(chat)) == [b"re: last"]
    for hop in (proxy, second):
        await eventually(lambda hop=hop: hop.records, "the call is recorded")
        assert counted(hop) == messages(13), "each message once"
    reporters = {dict(growth.labels)["reporter"] for growth in message_growth(proxy)}
    services = {dict(growth.labels)["destination_service"] for growth in message_growth(second)}
    assert (reporters, services) == ({"destination"}, {"echo.default.svc.cluster.local"})
    assert {dict(growth.labels)["source_principal"] for growth in message_growth(proxy)} == {WEB}


def message_growth(hop: Proxy) -> list[Growth]:
    hop.worker.flush()
    metrics = [message for message in hop.messages if isinstance(message, Metrics)]
    return [growth for each in metrics for growth in each.counters if "messages" in growth.name]


# what our own answers are to a caller of gRPC


def call(path: str = "/a.B/C", *fields: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return get(path, (b"content-type", b"application/grpc"), (b"te", b"trailers"), *fields, method=b"POST")


async def serve(proxy: Proxy, *upstreams: Address, **route: Any) -> Address:
    address = proxy.bind()
    await proxy.apply(
        clusters=(cluster("up", *upstreams, protocol=Protocol.HTTP2, connect_timeout_s=0.5),),
        listeners=(plain_listener("in", address, everything(forward_to("up", **route))),),
    )
    return address


async def test_a_local_reply_is_trailers_only(proxy: Proxy, h2_client: H2Client) -> None:
    peer = await h2_client.connect(await serve(proxy))

    stream = await peer.answer(peer.open(call()))

    assert stream.fields[:1] == [(b":status", b"200")]
    assert stream.get(b"content-type") == b"application/grpc"
    assert (stream.get(b"grpc-status"), stream.get(b"grpc-message")) == (b"14", b"no healthy upstream")
    assert (stream.body, stream.trailers) == (b"", None)
    (record,) = proxy.records
    assert (record.status, record.grpc_status, record.flags) == (200, 14, "UH")


async def test_a_deadline_is_answered_even_if_the_caller_does_not_give_up(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    async def never(peer: H2Peer, stream: Stream) -> None:
        return

    h2_origin.handler = never
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))

    stream = await peer.answer(peer.open(call("/a.B/C", (b"grpc-timeout", b"100m"))))

    assert stream.get(b"grpc-status") == b"4"
    assert h2_origin.requests[0].get(b"grpc-timeout") == b"100m"
    assert h2_origin.requests[0].get(b"te") == b"trailers"
    assert (proxy.records[0].flags, proxy.records[0].grpc_status) == ("UT", 4)
    await h2_origin.peers[0].until(lambda: h2_origin.requests[0].reset is not None, "the upstream's stream is reset")


@pytest.mark.parametrize("value", [b"99999999H", b"999999999H", b"-1S", b"1", b"S", b"1.5S", b"0x1S", b"\xff"])
async def test_an_absurd_deadline_harms_nobody(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, value: bytes
) -> None:
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    assert (await peer.answer(peer.open(call("/", (b"grpc-timeout", value))))).status == 200


async def test_a_deadline_of_nothing_is_exceeded_at_once(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    async def never(peer: H2Peer, stream: Stream) -> None:
        return

    h2_origin.handler = never
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    assert (await peer.answer(peer.open(call("/", (b"grpc-timeout", b"0n"))))).get(b"grpc-status") == b"4"


async def test_trailers_only_stay_one_frame(proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client) -> None:
    async def refuse(peer: H2Peer, stream: Stream) -> None:
        fields = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"7")]
        peer.send_head(stream, fields, end=True)

    h2_origin.handler = refuse
    peer = await h2_client.connect(await serve(proxy, h2_origin.address))
    stream = await peer.answer(peer.open(call()))
    assert (stream.get(b"grpc-status"), stream.trailers, stream.body) == (b"7", None, b"")
    assert proxy.records[0].grpc_status == 7


def unavailable_then_ok(origin: H2Origin) -> Callable[[H2Peer, Stream], Awaitable[None]]:
    async def handle(peer: H2Peer, stream: Stream) -> None:
        await peer.until(lambda: stream.ended, "the request's end")
        status = b"14" if len(origin.requests) == 1 else b"0"
        fields = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", status)]
        peer.send_head(stream, fields, end=True)

    return handle


@pytest.mark.parametrize(
    ("on", "answers"),
    [
        pytest.param(RetryOn.UNAVAILABLE, [b"0", b"14"], id="a status that the policy names"),
        pytest.param(RetryOn.INTERNAL, [b"14", b"0"], id="another status"),
        pytest.param(RetryOn.SERVER_ERROR, [b"14", b"0"], id="a policy for HTTP alone"),
    ],
)
async def test_a_call_that_is_refused_by_its_status_alone_is_tried_again(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client, on: RetryOn, answers: list[bytes]
) -> None:
    h2_origin.handler = unavailable_then_ok(h2_origin)
    policy = RetryPolicy(frozenset({on}), attempts=1, base_interval_s=0.001)
    peer = await h2_client.connect(await serve(proxy, h2_origin.address, retry=policy))
    stream = peer.open(call(), end=False)
    await peer.send(stream, b"\0\0\0\0\1x", end=True)

    assert (await peer.answer(stream)).get(b"grpc-status") == answers[0]
    tries = 2 if answers[0] == b"0" else 1
    assert [bytes(request.body) for request in h2_origin.requests] == [b"\0\0\0\0\1x"] * tries


async def test_an_answer_with_messages_is_never_asked_for_again(
    proxy: Proxy, h2_origin: H2Origin, h2_client: H2Client
) -> None:
    async def half(peer: H2Peer, stream: Stream) -> None:
        peer.send_head(stream, [(b":status", b"200"), (b"content-type", b"application/grpc")])
        await peer.send(stream, b"\0\0\0\0\1x")
        peer.send_head(stream, [(b"grpc-status", b"14")], end=True)

    h2_origin.handler = half
    policy = RetryPolicy(frozenset({RetryOn.UNAVAILABLE}), attempts=1, base_interval_s=0.001)
    peer = await h2_client.connect(await serve(proxy, h2_origin.address, retry=policy))
    stream = await peer.answer(peer.open(call()))
    assert (stream.trailer(b"grpc-status"), len(h2_origin.requests)) == (b"14", 1)
