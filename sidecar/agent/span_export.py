"""Spans to the collector: OTLP over gRPC with mutual TLS, in batches, from a bounded queue. Losing spans never costs a
request anything."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sidecar.agent.backoff import Backoff
from sidecar.agent.channels import COLLECTOR_NAME, Credentials, describe, open_channel
from sidecar.config.endpoint import Address
from sidecar.config.messages import Span

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

MAX_QUEUED = 16_384
MAX_BATCH = 512
BATCH_DELAY_S = 0.5
"""A batch is sent when it is full or this old."""

CALL_TIMEOUT_S = 10.0
MAX_ATTEMPTS = 8
"""Of one batch; then it is dropped, so that a batch that the collector cannot digest does not block the others."""

_RETRYABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
)  # OTLP specification, "Failures": what may be sent again

_log = logging.getLogger("remora.spans")


class SpanExporter:
    """`offer` spans; `run` sends them."""

    def __init__(
        self,
        address: Address,
        resource: dict[str, str],
        credentials: Callable[[], Credentials],
        backoff: Backoff,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._backoff = backoff
        self._max_queued = max_queued
        self._resource = resource
        self._encode: Callable[[list[Span]], bytes] | None = None
        self._queue: deque[Span] = deque()
        self._filled = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._stale = False
        self.sent = 0
        self.dropped = 0
        self.failures = 0

    @property
    def queued(self) -> int:
        """Spans that wait."""
        return len(self._queue)

    def offer(self, spans: tuple[Span, ...]) -> None:
        """Take what there is room for; the rest is dropped and counted."""
        room = self._max_queued - len(self._queue)
        self._queue.extend(spans[:room])
        self.dropped += max(0, len(spans) - room)
        if spans:
            self._filled.set()

    def reconnect(self) -> None:
        """Use new credentials from the next batch on."""
        self._stale = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._filled.wait()
            if len(self._queue) < MAX_BATCH:
                await asyncio.sleep(BATCH_DELAY_S)
            await self._send_next()

    async def flush(self) -> None:
        """After `run`: send what is queued, at once, and close. Who calls sets a deadline."""
        try:
            while self._queue:
                await self._send_next()
        finally:
            self.dropped += len(self._queue)
            self._queue.clear()
            await self._close()

    async def _send_next(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        if not self._queue:
            self._filled.clear()
        if not batch:
            return
        try:
            await self._send(batch)
        except asyncio.CancelledError:
            # Stopping: `flush` tries once more. The collector may have the batch already; span ids tell.
            self._queue.extendleft(reversed(batch))
            raise

    async def _send(self, batch: list[Span]) -> None:
        body = self._encoder()(batch)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                answer = await self._call(body)
            except grpc.aio.AioRpcError as error:
                self.failures += 1
                if error.code() not in _RETRYABLE or attempt == MAX_ATTEMPTS:
                    self.dropped += len(batch)
                    _log.error("%d spans dropped: %s", len(batch), describe(error))
                    return
                self._stale = True  # another connection, another try
                delay_s = self._backoff.next_s()
                _log.warning("collector %s: %s; again in %.1f s", self._address, describe(error), delay_s)
                await asyncio.sleep(delay_s)
            else:
                self._backoff.reset()
                rejected = int(answer.partial_success.rejected_spans)
                if rejected or answer.partial_success.error_message:
                    _log.warning(
                        "collector rejected %d spans: %s", rejected, answer.partial_success.error_message[:500]
                    )
                self.dropped += rejected
                self.sent += len(batch) - rejected
                return

    async def _call(self, body: bytes) -> Any:
        if self._stale:
            await self._close()
        if self._channel is None:
            self._channel = open_channel(self._address, COLLECTOR_NAME, self._credentials())
        channel: Any = self._channel
        export = channel.unary_unary(METHOD, response_deserializer=ExportTraceServiceResponse.FromString)
        return await export(body, timeout=CALL_TIMEOUT_S)

    async def _close(self) -> None:
        channel, self._channel, self._stale = self._channel, None, False
        if channel is not None:
            await channel.close(None)

    def _encoder(self) -> Callable[[list[Span]], bytes]:
        if self._encode is None:
            # Costs a tenth of a second and some megabytes, which an untraced workload need not pay.
            from sidecar.agent.span_encoding import SpanEncoder

            self._encode = SpanEncoder(self._resource).encode
        return self._encode
