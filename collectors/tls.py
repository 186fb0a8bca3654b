"""Mutual TLS of the collector's servers: contexts out of credentials, and who a peer is. What certificates come from is
identity's business."""

import hashlib
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509

from mesh.spiffe import InvalidSpiffeId, SpiffeId


class PeerRefused(Exception):
    """The peer's certificate does not make it one of us."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its key. The key never leaves the process."""

    identity: SpiffeId
    chain_pem: bytes
    """Leaf first, without the root."""
    key_pem: bytes
    roots_pem: bytes
    not_before: float
    not_after: float

    def __repr__(self) -> str:
        return f"<Credentials {self.identity} until {self.not_after:.0f}>"


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """The one identity of a leaf (X509-SVID section 5). Raises PeerRefused."""
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError
    ) as error:  # fmt: skip
        raise PeerRefused("has no readable subject alternative name") from error
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise PeerRefused("is an authority's own")
    except x509.ExtensionNotFound:
        pass  # absent means: no authority (RFC 5280 section 4.2.1.9)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise PeerRefused(f"has {len(uris)} URI names instead of one")
    try:
        return SpiffeId.parse(uris[0])
    except InvalidSpiffeId as error:
        raise PeerRefused(f"names no workload: {error}") from error


def authenticate_der(der: bytes | None, trust_domain: str) -> SpiffeId:
    """Who a peer is whose chain TLS has verified. Raises PeerRefused."""
    if not der:
        raise PeerRefused("no certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise PeerRefused("unreadable certificate") from error
    identity = spiffe_id_of(certificate)
    if identity.trust_domain != trust_domain:
        raise PeerRefused(f"{identity} is not of trust domain {trust_domain}")
    return identity


def authenticate_pem(auth_context: Mapping[str, Iterable[bytes]], trust_domain: str) -> SpiffeId:
    """The same for a gRPC call's authentication context."""
    for pem in auth_context.get("x509_pem_cert", ()):
        return authenticate_der(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")), trust_domain)
    raise PeerRefused("no certificate")


class ServerTls:
    """A server-side context for mutual TLS 1.3 that always serves with the newest certificate and roots.

    The context that a listening server has cannot be exchanged, and its roots can only grow: so each handshake is
    moved, before it begins in earnest, to the newest one. Sessions are not resumed: nobody is let in by a proof that
    was checked against roots of the past.
    """

    def __init__(self, credentials: Credentials, *, alpn: tuple[str, ...] = ()) -> None:
        self._alpn = alpn
        self._current = _server_context(credentials, alpn)
        self.context = _server_context(credentials, alpn)
        self.context.sni_callback = self._move

    def update(self, credentials: Credentials) -> None:
        """Serve new handshakes with these."""
        self._current = _server_context(credentials, self._alpn)

    def _move(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current


def _server_context(credentials: Credentials, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.load_verify_locations(cadata=credentials.roots_pem.decode("ascii"))
    load_cert_chain(context, credentials)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """A client-side context that shows the certificate; whom it talks to, the caller checks by SPIFFE id."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names are SPIFFE ids; verify_mode stays CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.roots_pem.decode("ascii"))
    load_cert_chain(context, credentials)
    return context


def mesh_trust(credentials: Credentials) -> ssl.SSLContext:
    """A client-side context for servers that the mesh's authority has given a DNS name; shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=credentials.roots_pem.decode("ascii"))
    return context


def load_cert_chain(context: ssl.SSLContext, credentials: Credentials) -> None:
    """`SSLContext.load_cert_chain` reads files only: this one is in memory and has no name in any directory."""
    fd = os.memfd_create("remora-identity", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(credentials.chain_pem + credentials.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def server_credentials(present: Callable[[], Credentials]) -> grpc.ServerCredentials:
    """gRPC's equivalent: mutual TLS whose certificate and roots are asked for with each handshake. grpcio offers no way
    to demand TLS 1.3: it negotiates it with any peer that has it, and takes 1.2 too."""
    shown = [_fingerprint(present())]

    def configuration(credentials: Credentials) -> Any:
        pair = [(credentials.key_pem, credentials.chain_pem)]
        return grpc.ssl_server_certificate_configuration(pair, root_certificates=credentials.roots_pem)

    def fetch() -> Any:
        credentials = present()
        if shown[0] == _fingerprint(credentials):
            return None
        shown[0] = _fingerprint(credentials)
        return configuration(credentials)

    return grpc.dynamic_ssl_server_credentials(configuration(present()), fetch, require_client_authentication=True)


def _fingerprint(credentials: Credentials) -> bytes:
    return hashlib.sha256(credentials.chain_pem + credentials.roots_pem).digest()
