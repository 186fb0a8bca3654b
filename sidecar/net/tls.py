"""TLS contexts from secrets. Keys pass through a sealed memory file for the moment OpenSSL reads them; no disk."""

import contextlib
import os
import ssl
from collections.abc import Iterator

from sidecar.config.cluster import UpstreamTls
from sidecar.config.listener import DownstreamTls
from sidecar.config.secret import Certificate, TrustAnchors

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only, where TLS 1.2 is allowed at all."""


class UnusableSecret(Exception):
    """A certificate, key or trust anchor that OpenSSL refuses. The text names the secret, never its content."""


class UnsupportedVersion(Exception):
    """A minimum TLS version below 1.2 or unknown."""


def server_context(tls: DownstreamTls, certificate: Certificate, anchors: TrustAnchors | None) -> ssl.SSLContext:
    """What a listener's filter chain terminates TLS with. Raises UnusableSecret, UnsupportedVersion."""
    version = _VERSIONS.get(tls.min_version)
    if version is None:
        raise UnsupportedVersion(f"minimum version {tls.min_version!r}: TLSv1.2 and TLSv1.3 are supported")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, version)
    # A resumed session would skip the check against the present trust anchors.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS_1_2)
    _load_certificate(context, certificate)
    if anchors is not None:
        _load_anchors(context, anchors)
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_certificate else ssl.CERT_OPTIONAL
    elif tls.require_client_certificate:
        raise UnusableSecret("client certificates are required but no trust anchors are named")
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    context.sni_callback = _remember_server_name
    return context


def _remember_server_name(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    tls.requested_server_name = name  # type: ignore[attr-defined]


def requested_server_name(tls: ssl.SSLObject) -> str | None:
    """The SNI that the client of a `server_context` sent."""
    return getattr(tls, "requested_server_name", None)


def client_context(tls: UpstreamTls, certificate: Certificate | None, anchors: TrustAnchors | None) -> ssl.SSLContext:
    """What a cluster's connections are secured with. Raises UnusableSecret.

    With trust anchors of the mesh the peer's names are checked by `peer.check_server`; with the system's anchors
    OpenSSL checks the host name against SNI.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if anchors is None:
        _harden(context, ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(_CIPHERS_1_2)
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        context.check_hostname = tls.sni is not None and not tls.sans
    else:
        _harden(context, ssl.TLSVersion.TLSv1_3)
        context.check_hostname = False
        _load_anchors(context, anchors)
    context.verify_mode = ssl.CERT_REQUIRED
    if certificate is not None:
        _load_certificate(context, certificate)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def _harden(context: ssl.SSLContext, minimum: ssl.TLSVersion) -> None:
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_anchors(context: ssl.SSLContext, anchors: TrustAnchors) -> None:
    # The mesh's certificates are ours to make: hold them to RFC 5280 to the letter.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=anchors.pem)
    except (ssl.SSLError, ValueError) as error:
        raise UnusableSecret(f"trust anchors {anchors.name!r}: {_reason(error)}") from None
    if not context.cert_store_stats()["x509"]:
        raise UnusableSecret(f"trust anchors {anchors.name!r}: no certificate in them")


def _load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    with _memory_file((certificate.key_pem + "\n" + certificate.chain_pem).encode()) as path:
        try:
            # The password stops OpenSSL from asking the terminal for one when the key is encrypted.
            context.load_cert_chain(path, password="")
        except (ssl.SSLError, ValueError, OSError) as error:
            raise UnusableSecret(f"certificate {certificate.name!r}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or type(error).__name__


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A path that reads as `content` while the block runs. Anonymous memory: it never reaches a file system."""
    fd = os.memfd_create("secret", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
        os.pwrite(fd, bytes(len(content)), 0)
    finally:
        os.close(fd)
