"""OTLP/gRPC: the trace, log and metric services."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import grpc

from collectors.pipeline import Refused
from collectors.receivers.otlp import MalformedRequest
from collectors.receivers.otlp_intake import BUSY, MAX_REQUEST_BYTES, Intake
from collectors.tls import PeerRefused, authenticate_pem
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.otlp")

Identify = Callable[[Mapping[str, Iterable[bytes]]], SpiffeId | None]
"""Who sends, by a call's authentication context; None: nobody in particular, of whom nothing is checked. Raises
PeerRefused."""

_GOODBYE_S = 0.2
"""For the last answers to leave, and for clients to hang up."""

_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}


def mesh_peers(trust_domain: str) -> Identify:
    """Everyone is of the mesh, by the certificate."""
    return lambda context: authenticate_pem(context, trust_domain)


_Context = grpc.aio.ServicerContext[bytes, bytes]


class OtlpGrpcReceiver:
    """One gRPC server."""

    def __init__(self, intake: Intake, identify: Identify, *, max_request_bytes: int = MAX_REQUEST_BYTES) -> None:
        """Larger requests than `max_request_bytes` are answered RESOURCE_EXHAUSTED."""
        self._intake = intake
        self._identify = identify
        self._max_request_bytes = max_request_bytes
        self._server: grpc.aio.Server | None = None
        self._running = 0
        self._idle = asyncio.Event()
        """No call is under way."""
        self._idle.set()

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
            [
                grpc.method_handlers_generic_handler(
                    service, {"Export": grpc.unary_unary_rpc_method_handler(partial(self._export, signal))}
                )
                for signal, service in _SERVICES.items()
            ]
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
        """Accept no more calls, let those that run come to their end; then end every connection.

        gRPC's own time to stop is over when every client has hung up, which one that vanished with its machine never
        does, though nothing of its is under way.
        """
        if self._server is None:
            return
        async with TaskScope() as scope:
            stopping = scope.spawn(self._server.stop(timeout_s), name="otlp goodbye")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._idle.wait()
            await asyncio.wait((stopping,), timeout=_GOODBYE_S)
            await self._server.stop(None)

    async def _export(self, signal: str, body: bytes, context: _Context) -> bytes:
        self._running += 1
        self._idle.clear()
        try:
            return await self._answer(signal, body, context)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _answer(self, signal: str, body: bytes, context: _Context) -> bytes:
        try:
            peer = self._identify(context.auth_context())
        except PeerRefused as error:
            _log.warning("refused %s: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        try:
            response = await self._intake.take(signal, body, peer, context.peer().rpartition(":")[0])
        except MalformedRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TimeoutError:
            # UNAVAILABLE is what OTLP's senders retry.
            await context.abort(grpc.StatusCode.UNAVAILABLE, BUSY)
        except Refused as error:
            code = grpc.StatusCode.UNAVAILABLE if error.retry else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error))
        return bytes(response.SerializeToString())
