"""ADS over gRPC: a stream's I/O, who may open one, and what it may cost. What it says is decided in `subscription`."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from control.ca.errors import Unauthenticated
from control.ca.limits import Buckets, Rate
from control.ca.peer import Peer
from control.xds.messages import MAX_NAMES, Request, Response
from control.xds.metrics import DiscoveryMetrics
from control.xds.names import NamePool, RequestReader
from control.xds.publisher import Publisher
from control.xds.stream import Stream
from control.xds.subscription import UnknownType
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("control.xds")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = "StreamAggregatedResources"

OUR_AGENT = "remora"
"""`node.user_agent_name` of our sidecars; Envoy's is `envoy`. Others get nothing that is Remora's own."""

MAX_REQUEST_BYTES = 4 * 1024 * 1024
FIRST_REQUEST_S = 10.0
"""A stream that says nothing for this long is closed."""
MAX_NODE_ID = 512
REQUEST_RATE = Rate(burst=500, per_s=100.0)
"""Of one stream; beyond it we read more slowly, and TCP holds the client back."""
STREAM_RATE = Rate(burst=20, per_s=2.0)
"""New streams of one node. One that reconnects in a loop is told to wait."""
FIRST_PUSHES = 64
"""Proxies that get their first configuration at the same time; the others wait their turn."""
FIRST_PUSH_S = 2.0
"""The turn of a proxy that does not answer ends here."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_metadata_size", 16 * 1024),
    # A peer that vanished is noticed within 40 s; a client may ask after us every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Two control planes on one port would share its connections at random.
    ("grpc.so_reuseport", 0),
)

Context = grpc.aio.ServicerContext[bytes, bytes]


class Turned(Exception):
    """The stream ends here, with a status that the client sees."""

    def __init__(self, code: grpc.StatusCode, text: str, reason: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.reason = reason


class DiscoveryService:
    """Answers StreamAggregatedResources."""

    def __init__(
        self,
        publisher: Publisher,
        clock: Clock,
        identify: Callable[[Context], Peer],
        metrics: DiscoveryMetrics,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._identify = identify
        self._metrics = metrics
        self._rates = Buckets(STREAM_RATE)
        self._first_pushes = asyncio.Semaphore(FIRST_PUSHES)
        self._names = NamePool()

    def handler(self) -> Any:
        """What a grpc.aio server is given."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.stream_stream_rpc_method_handler(self._stream)}
        )

    async def _stream(self, messages: AsyncIterator[bytes], context: Context) -> None:
        try:
            await self._serve(messages, context)
        except Turned as turned:
            self._metrics.refused_streams.labels(turned.reason).inc()
            _log.warning("ADS stream of %s ends: %s", context.peer(), turned.text)
            # Why someone is not who he says is not for him to know.
            await context.abort(turned.code, turned.text)
        except Unauthenticated as error:
            self._metrics.refused_streams.labels("identity").inc()
            _log.warning("ADS stream of %s refused: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")

    async def _serve(self, messages: AsyncIterator[bytes], context: Context) -> None:
        peer = self._identify(context)
        requests = RequestReader(self._names)
        try:
            async with asyncio.timeout(FIRST_REQUEST_S):
                first, names = _decode(await anext(messages), requests)
        except TimeoutError:
            raise Turned(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came", "silent") from None
        except StopAsyncIteration:
            return
        node_id = first.node.id
        self._admit(node_id, peer)
        ours = first.node.user_agent_name == OUR_AGENT
        stream = Stream(secrets.token_hex(4), node_id, peer, self._clock.now(), self._metrics, ours=ours)
        self._receive(stream, first, names)
        self._publisher.connect(stream)
        _log.info("%s connected from %s", node_id, context.peer())
        try:
            async with TaskScope() as scope:
                reader = scope.spawn(self._read(messages, stream, requests), name=f"ads-read {node_id}")
                await self._write(stream, reader, context)
        finally:
            self._publisher.disconnect(stream)
            _log.info("%s disconnected", node_id)

    def _admit(self, node_id: str, peer: Peer) -> None:
        """Raises Turned unless the node is registered under the identity that the peer has proven."""
        if not 0 < len(node_id) <= MAX_NODE_ID:
            raise Turned(
                grpc.StatusCode.INVALID_ARGUMENT, "the first request must name its node (node.id)", "malformed"
            )
        if not self._publisher.is_registered(node_id, peer.identity):
            # One answer to both: a workload need not know which others there are.
            raise Turned(
                grpc.StatusCode.PERMISSION_DENIED,
                f"node {node_id} is not registered for {peer.identity}",
                "not registered",
            )
        if not self._rates.take(node_id, self._clock.monotonic()):
            raise Turned(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many new streams; wait a little", "rate")

    async def _read(self, messages: AsyncIterator[bytes], stream: Stream, requests: RequestReader) -> None:
        bucket = Buckets(REQUEST_RATE)
        async for data in messages:
            message, names = _decode(data, requests)
            if message.node.id not in ("", stream.node_id):
                raise Turned(grpc.StatusCode.INVALID_ARGUMENT, "a stream is of one node", "malformed")
            if not bucket.take("", self._clock.monotonic()):
                await asyncio.sleep(1 / REQUEST_RATE.per_s)
            self._receive(stream, message, names)

    def _receive(self, stream: Stream, message: Any, names: frozenset[str]) -> None:
        try:
            stream.receive(_request(message, names), self._clock.monotonic(), self._clock.now())
        except UnknownType as error:
            raise Turned(grpc.StatusCode.INVALID_ARGUMENT, str(error), "unknown type") from error

    async def _write(self, stream: Stream, reader: "asyncio.Task[None]", context: Context) -> None:
        reader.add_done_callback(lambda _task: stream.wake.set())
        async with self._first_pushes:
            await self._pump(stream, reader, context, first_until=self._clock.monotonic() + FIRST_PUSH_S)
        await self._pump(stream, reader, context)

    async def _pump(
        self, stream: Stream, reader: "asyncio.Task[None]", context: Context, first_until: float | None = None
    ) -> None:
        """Send what is due whenever there is something, until the client leaves or, with `first_until`, until it has
        answered for the first time or that moment has come."""
        while True:
            stream.wake.clear()
            if reader.done():
                reader.result()  # raises what was wrong with a request
                return
            if stream.closing is not None:
                raise Turned(grpc.StatusCode.PERMISSION_DENIED, stream.closing, "closed")
            at_most_s = stream.peer.not_after - self._clock.now()
            if at_most_s <= 0:
                raise Turned(grpc.StatusCode.UNAUTHENTICATED, "the client certificate has expired", "expired")
            while (response := stream.take(self._clock.monotonic())) is not None:
                await context.write(encode(response))
            now = self._clock.monotonic()
            if first_until is not None:
                if stream.answered or now >= first_until:
                    return
                at_most_s = min(at_most_s, first_until - now)
            deadline = stream.subscription.deadline(now)
            if deadline is not None:
                at_most_s = min(at_most_s, deadline - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, at_most_s)):
                    await stream.wake.wait()


def _decode(data: bytes, requests: RequestReader) -> tuple[Any, frozenset[str]]:
    try:
        message, names = requests.read(data)
    except DecodeError as error:
        raise Turned(grpc.StatusCode.INVALID_ARGUMENT, "not a DiscoveryRequest", "malformed") from error
    if len(message.resource_names) > MAX_NAMES:
        raise Turned(grpc.StatusCode.INVALID_ARGUMENT, f"more than {MAX_NAMES} resource names", "malformed")
    return message, names


def _request(message: Any, names: frozenset[str]) -> Request:
    return Request(
        message.type_url,
        message.version_info,
        message.response_nonce,
        names,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def encode(response: Response) -> bytes:
    """A DiscoveryResponse. Its resources are bytes already, which most of those who get it share."""
    rest = discovery_pb2.DiscoveryResponse(
        version_info=response.version, type_url=response.type_url, nonce=response.nonce
    )
    return b"".join([*response.resources.pieces(), rest.SerializeToString()])
