"""A control plane's two gRPC services over real TLS, doing what a test tells them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.csr import METHOD, SERVICE, CertificateRequest, CertificateResponse
from sidecar.agent.channels import CONTROL_NAME
from sidecar.config.endpoint import Address
from sidecar.xds.kinds import Kind
from tests.sidecar.xds.authority import TestAuthority

URI = "spiffe://cluster.local/ns/remora-system/sa/remora-control"
ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

Sign = Callable[[CertificateRequest, dict[str, str], bool], CertificateResponse]
"""(request, metadata, whether it came with a certificate) -> answer; raises Refusal."""


class Refusal(Exception):
    def __init__(self, code: grpc.StatusCode, text: str = "no") -> None:
        super().__init__(text)
        self.code = code


class Stream:
    """One ADS stream."""

    def __init__(self) -> None:
        self.requests: list[DiscoveryRequest] = []
        self.responses: asyncio.Queue[DiscoveryResponse | None] = asyncio.Queue()
        self.ended = False

    def send(self, kind: Kind, version: str, nonce: str, *resources: AnyMessage) -> None:
        self.responses.put_nowait(
            DiscoveryResponse(type_url=kind.value, version_info=version, nonce=nonce, resources=resources)
        )

    def close(self) -> None:
        self.responses.put_nowait(None)

    def of(self, kind: Kind) -> list[DiscoveryRequest]:
        return [request for request in self.requests if request.type_url == kind.value]


class FakeControlPlane:
    """`async with` it."""

    def __init__(self, authority: TestAuthority, names: tuple[str, ...] = (CONTROL_NAME,)) -> None:
        self.authority = authority
        self.names = names
        self.sign: Sign = self.sign_anything
        self.signed: list[tuple[CertificateRequest, dict[str, str], bool]] = []
        self.streams: list[Stream] = []
        self.ads = Address("127.0.0.1", 0)
        self.csr = Address("127.0.0.1", 0)
        self.lifetime_s = 3600.0
        self._servers: list[grpc.aio.Server] = []

    def sign_anything(self, request: CertificateRequest, metadata: dict[str, str], proven: bool) -> CertificateResponse:
        csr = x509.load_pem_x509_csr(request.csr.encode())
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key: Any = csr.public_key()
        lifetime = timedelta(seconds=self.lifetime_s)
        self.authority.now = datetime.now(UTC)
        leaf = self.authority.issue(key, tuple(uris), starts=timedelta(0), lifetime=lifetime)
        return CertificateResponse((leaf, self.authority.pem))

    async def start(self) -> None:
        """On any ports, or after a stop on the same ones."""
        chain, key = self.authority.pair(URI, *self.names)
        pair = ((key.encode(), chain.encode()),)
        self.csr = await self._serve(self.csr, grpc.ssl_server_credentials(pair), mutual=False)
        mutual = grpc.ssl_server_credentials(pair, self.authority.pem.encode(), True)
        self.ads = await self._serve(self.ads, mutual, mutual=True)

    async def _serve(self, address: Address, credentials: grpc.ServerCredentials, *, mutual: bool) -> Address:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))

        async def create(data: CertificateRequest, context: Any) -> CertificateResponse:
            metadata = dict(context.invocation_metadata())
            self.signed.append((data, metadata, mutual))
            try:
                return self.sign(data, metadata, mutual)
            except Refusal as refusal:
                await context.abort(refusal.code, str(refusal))
                raise AssertionError from refusal

        handlers: dict[str, Any] = {
            METHOD: grpc.unary_unary_rpc_method_handler(
                create,
                request_deserializer=CertificateRequest.from_bytes,
                response_serializer=CertificateResponse.to_bytes,
            )
        }
        generic = [grpc.method_handlers_generic_handler(SERVICE, handlers)]
        if mutual:
            stream = grpc.stream_stream_rpc_method_handler(
                self._stream,
                request_deserializer=DiscoveryRequest.FromString,
                response_serializer=DiscoveryResponse.SerializeToString,
            )
            generic.append(grpc.method_handlers_generic_handler(ADS_SERVICE, {"StreamAggregatedResources": stream}))
        server.add_generic_rpc_handlers(tuple(generic))
        port = server.add_secure_port(f"127.0.0.1:{address.port}", credentials)
        await server.start()
        self._servers.append(server)
        return Address("127.0.0.1", port)

    async def _stream(
        self, requests: AsyncIterator[DiscoveryRequest], context: Any
    ) -> AsyncIterator[DiscoveryResponse]:
        stream = Stream()
        self.streams.append(stream)

        async def read() -> None:
            async for request in requests:
                stream.requests.append(request)

        reading = asyncio.get_running_loop().create_task(read())
        try:
            while (response := await stream.responses.get()) is not None:
                yield response
        finally:
            stream.ended = True
            reading.cancel()
            await asyncio.wait([reading])

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(0)
        self._servers.clear()

    async def __aenter__(self) -> "FakeControlPlane":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
