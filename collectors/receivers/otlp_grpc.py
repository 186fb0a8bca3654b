"""OTLP/gRPC: the trace, log and metric services."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from collectors.pipeline import Consumer, Refused
from collectors.receivers import otlp, otlp_metrics, otlp_traces
from collectors.receivers.claims import Claims, Judge
from collectors.receivers.otlp import Decoded, MalformedRequest
from collectors.receivers.otlp_deltas import Deltas
from collectors.telemetry import Telemetry
from collectors.tls import PeerRefused, authenticate_pem
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.otlp")

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""Larger ones are answered RESOURCE_EXHAUSTED. The default."""

Identify = Callable[[Mapping[str, Iterable[bytes]]], SpiffeId | None]
"""Who sends, by a call's authentication context; None: nobody in particular, of whom nothing is checked. Raises
PeerRefused."""

_TRACE = "opentelemetry.proto.collector.trace.v1.TraceService"
_LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
_METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_MAX_WAIT_S = 10.0
"""For room in the pipeline; then the sender is asked to come again."""


def mesh_peers(trust_domain: str) -> Identify:
    """Everyone is of the mesh, by the certificate."""
    return lambda context: authenticate_pem(context, trust_domain)


_Context = grpc.aio.ServicerContext[bytes, bytes]


class OtlpGrpcReceiver:
    """One gRPC server."""

    def __init__(
        self,
        consumer: Consumer,
        telemetry: Telemetry,
        clock: Clock,
        claims: Claims,
        identify: Identify,
        *,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        mesh_metrics: bool = False,
    ) -> None:
        self._consumer = consumer
        self._telemetry = telemetry
        self._clock = clock
        self._claims = claims
        self._identify = identify
        self._max_request_bytes = max_request_bytes
        self._deltas = Deltas()
        self._mesh_metrics = mesh_metrics
        self._server: grpc.aio.Server | None = None

    async def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Serve TLS, or plaintext without `credentials`, on `address` (host:port, port 0 means any); returns the port.
        Raises OSError if it is taken."""
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._max_request_bytes),
                ("grpc.max_concurrent_streams", 64),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=256,
        )
        # Bytes in, bytes out: what cannot be read is ours to answer.
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    _TRACE, {"Export": grpc.unary_unary_rpc_method_handler(self._traces)}
                ),
                grpc.method_handlers_generic_handler(
                    _LOGS, {"Export": grpc.unary_unary_rpc_method_handler(self._logs)}
                ),
                grpc.method_handlers_generic_handler(
                    _METRICS, {"Export": grpc.unary_unary_rpc_method_handler(self._metrics)}
                ),
            )
        )
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if not port:
            raise OSError(f"cannot listen on {address}")
        await server.start()
        self._server = server
        return port

    async def close(self, timeout_s: float) -> None:
        """Accept no more calls, let those that run come to their end."""
        if self._server is not None:
            await self._server.stop(timeout_s)

    async def _traces(self, body: bytes, context: _Context) -> bytes:
        return await self._export("traces", body, context, otlp_traces.decode_traces, otlp_traces.trace_response)

    async def _logs(self, body: bytes, context: _Context) -> bytes:
        return await self._export("logs", body, context, self._decode_logs, otlp.logs_response)

    async def _metrics(self, body: bytes, context: _Context) -> bytes:
        return await self._export("metrics", body, context, self._decode_metrics, otlp_metrics.metrics_response)

    def _decode_metrics(self, body: bytes, judge: Judge | None) -> Decoded:
        return otlp_metrics.decode_metrics(
            body, judge, self._clock.now(), self._deltas, mesh_metrics=self._mesh_metrics
        )

    def _decode_logs(self, body: bytes, judge: Judge | None) -> Decoded:
        return otlp.decode_logs(body, judge, self._clock.now())

    async def _export(
        self,
        signal: str,
        body: bytes,
        context: _Context,
        decode: Callable[[bytes, Judge | None], Decoded],
        respond: Callable[[Decoded], Any],
    ) -> bytes:
        try:
            peer = self._identify(context.auth_context())
        except PeerRefused as error:
            _log.warning("refused %s: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        try:
            decoded = decode(body, None if peer is None else self._claims.judge(peer))
        except MalformedRequest as error:
            self._telemetry.refused.labels("otlp_grpc", signal).inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        received, refused = (
            counter.labels("otlp_grpc", signal) for counter in (self._telemetry.received, self._telemetry.refused)
        )
        count = len(decoded.batch)
        decoded.batch.sender = context.peer().rpartition(":")[0] if peer is None else str(peer)
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._consumer.consume(decoded.batch)
        except TimeoutError:
            # UNAVAILABLE is what OTLP's senders retry.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy, try again")
        except Refused as error:
            refused.inc(count)
            code = grpc.StatusCode.UNAVAILABLE if error.retry else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error))
        received.inc(count)
        refused.inc(decoded.rejected)
        if decoded.foreign and peer is not None:
            self._claims.refused("otlp_grpc", signal, peer, decoded.foreign, decoded.why)
        return bytes(respond(decoded).SerializeToString())
