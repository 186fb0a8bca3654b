"""A collector's two inputs over mutual TLS, in the thread or loop that suits each, with knobs for faults."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgpack
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from sidecar.agent.channels import COLLECTOR_NAME
from sidecar.config.endpoint import Address
from tests.sidecar.xds.authority import TestAuthority

URI = "spiffe://cluster.local/ns/remora-system/sa/remora-collector"


class ForwardInput:
    """Speaks the forward protocol to one connection after the other. `acknowledge` decides about each chunk."""

    def __init__(self, authority: TestAuthority, directory: Path, uri: str = URI, port: int = 0) -> None:
        self.chunks: list[tuple[str, str, int, bytes]] = []
        """(tag, chunk id, size, entries), acknowledged or not."""
        self.acknowledge = True
        self.answer: dict[str, Any] | None = None
        """Sent instead of the right acknowledgement."""
        self.connections = 0
        self.peers: list[Any] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain, key = authority.pair(uri, COLLECTOR_NAME)
        path = directory / f"collector-{os.urandom(4).hex()}.pem"
        path.write_text(key + chain)
        self._context.load_cert_chain(path)
        self._context.load_verify_locations(cadata=authority.pem)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._server = socket.create_server(("127.0.0.1", port))
        self.address = Address(*self._server.getsockname())
        self._open: list[socket.socket] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def entries(self) -> bytes:
        """Of all distinct chunks, as a collector that knows ids keeps them."""
        kept = {chunk_id: entries for _, chunk_id, _, entries in self.chunks}
        return b"".join(kept.values())

    def _run(self) -> None:
        while not self._stopped:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError, ValueError), self._context.wrap_socket(plain, server_side=True) as tls:
                self._open.append(tls)
                self.peers.append(tls.getpeercert())
                self._serve(tls)

    def _serve(self, tls: ssl.SSLSocket) -> None:
        unpacker = msgpack.Unpacker()
        while data := tls.recv(65536):
            unpacker.feed(data)
            for tag, entries, option in unpacker:
                self.chunks.append((tag, option["chunk"], option["size"], entries))
                if self.acknowledge:
                    tls.sendall(msgpack.packb(self.answer or {"ack": option["chunk"]}))

    def hang_up(self) -> None:
        """Close the present connections."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def stop(self) -> None:
        self._stopped = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()
        self._thread.join(5)


@contextlib.contextmanager
def forward_input(authority: TestAuthority, directory: Path, uri: str = URI, port: int = 0) -> Iterator[ForwardInput]:
    running = ForwardInput(authority, directory, uri, port)
    try:
        yield running
    finally:
        running.stop()


class TraceInput:
    """OTLP over gRPC. `failures` are answered first, one a call."""

    def __init__(self, authority: TestAuthority, name: str = COLLECTOR_NAME) -> None:
        self._authority = authority
        self._name = name
        self.requests: list[ExportTraceServiceRequest] = []
        self.failures: list[grpc.StatusCode] = []
        self.rejected = 0
        self.calls = 0
        self.address = Address("127.0.0.1", 0)
        self._server: grpc.aio.Server | None = None

    async def _export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.calls += 1
        if self.failures:
            await context.abort(self.failures.pop(0), "told to")
        self.requests.append(request)
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = self.rejected
        return response

    async def __aenter__(self) -> "TraceInput":
        chain, key = self._authority.pair(URI, self._name)
        credentials = grpc.ssl_server_credentials(((key.encode(), chain.encode()),), self._authority.pem.encode(), True)
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        self.address = Address("127.0.0.1", self._server.add_secure_port("127.0.0.1:0", credentials))
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.stop(0)
