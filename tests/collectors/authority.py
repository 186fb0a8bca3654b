"""A small certificate authority for tests: issues certificates, and serves them as the control plane's two doors do."""

import asyncio
import datetime
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collectors.identity import CONTROL_NAME, Authority, Identity
from collectors.tls import Credentials
from mesh.clock import Clock, SystemClock
from mesh.csr import METHOD, SERVICE, CertificateRequest, CertificateResponse
from mesh.spiffe import SpiffeId

DOMAIN = "cluster.local"
COLLECTOR = SpiffeId(DOMAIN, "remora-system", "remora-collector")
PRODUCTPAGE = SpiffeId(DOMAIN, "default", "bookinfo-productpage")


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Mint:
    """A root that signs what it is asked to."""

    def __init__(self, name: str = "test root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.root = self._build(self.name, self.key.public_key(), 3600, ca=True).sign(self.key, hashes.SHA256())

    def _build(self, subject: x509.Name, key: Any, life_s: float, *, ca: bool) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=60))
            .not_valid_after(now + datetime.timedelta(seconds=life_s))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    def sign(
        self,
        key: Any,
        *,
        uris: tuple[str, ...] = (str(PRODUCTPAGE),),
        dns: tuple[str, ...] = (),
        life_s: float = 3600,
        ca: bool = False,
        usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    ) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        builder = self._build(x509.Name([]), key, life_s, ca=ca)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(self.key, hashes.SHA256())

    def credentials(
        self, identity: SpiffeId = PRODUCTPAGE, *, roots: bytes | None = None, **changes: Any
    ) -> Credentials:
        """A leaf for `identity`, or for what `changes` say."""
        key = ec.generate_private_key(ec.SECP256R1())
        changes.setdefault("uris", (str(identity),))
        leaf = self.sign(key.public_key(), **changes)
        return Credentials(
            identity,
            pem(leaf),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            roots or pem(self.root),
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
        )


@dataclass
class Doors:
    """The CSR service on its two ports, each answering for COLLECTOR."""

    mint: Mint
    directory: Path
    life_s: float = 3600
    token: str = "a-token"
    asked_by_token: int = 0
    asked_by_certificate: int = 0
    refuse: grpc.StatusCode | None = None
    answers: list[x509.Certificate] = field(default_factory=list)
    csr: str = ""
    ads: str = ""
    _servers: list[Any] = field(default_factory=list)

    async def __aenter__(self) -> "Doors":
        control = self.mint.credentials(SpiffeId(DOMAIN, "remora-system", "remora-control"), dns=(CONTROL_NAME,))
        pairs = [(control.key_pem, control.chain_pem)]
        self.csr = await self._serve(grpc.ssl_server_credentials(pairs), self._by_token)
        self.ads = await self._serve(
            grpc.ssl_server_credentials(pairs, pem(self.mint.root), require_client_auth=True), self._by_certificate
        )
        (self.directory / "root.pem").write_bytes(pem(self.mint.root))
        token = self.directory / "token"
        token.touch(mode=0o600)
        token.write_text(self.token + "\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(server.stop(None) for server in self._servers))

    async def _serve(self, credentials: grpc.ServerCredentials, behaviour: Any) -> str:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=CertificateRequest.from_bytes,
            response_serializer=CertificateResponse.to_bytes,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        self._servers.append(server)
        return f"127.0.0.1:{port}"

    async def _by_token(self, request: CertificateRequest, context: Any) -> CertificateResponse:
        if ("authorization", f"Bearer {self.token}") not in tuple(context.invocation_metadata()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        self.asked_by_token += 1
        return await self._issue(request, context)

    async def _by_certificate(self, request: CertificateRequest, context: Any) -> CertificateResponse:
        self.asked_by_certificate += 1
        return await self._issue(request, context)

    async def _issue(self, request: CertificateRequest, context: Any) -> CertificateResponse:
        if self.refuse is not None:
            await context.abort(self.refuse, "refused by the test")
        csr = x509.load_pem_x509_csr(request.csr.encode())
        assert csr.is_signature_valid
        names = (f"{COLLECTOR.service_account}.{COLLECTOR.namespace}.svc",)
        leaf = self.mint.sign(csr.public_key(), uris=(str(COLLECTOR),), dns=names, life_s=self.life_s)
        self.answers.append(leaf)
        return CertificateResponse((pem(leaf).decode(), pem(self.mint.root).decode()))

    def authority(self, *, renew_at_ads: bool = True) -> Authority:
        return Authority(
            self.csr, self.ads if renew_at_ads else None, self.directory / "root.pem", self.directory / "token"
        )

    def identity(self, clock: Clock | None = None, **pace: float) -> Identity:
        return Identity(self.authority(), clock or SystemClock(), random.Random(1), **pace)
