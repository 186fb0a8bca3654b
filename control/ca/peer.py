"""Who is at the other end of a gRPC connection with mutual TLS."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509

from control.ca.check import NotTrusted, check_peer
from control.ca.errors import Unauthenticated
from mesh.spiffe import SpiffeId


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified client certificate, reduced to what is asked of it."""

    identity: SpiffeId
    not_after: float
    """Seconds since the epoch: after it, the proof is worth nothing."""
    address: str


def peer_of(
    auth_context: Mapping[str, Iterable[bytes]],
    address: str,
    *,
    trust_domain: str,
    anchors: Iterable[x509.Certificate],
    now: float,
) -> Peer:
    """Raises Unauthenticated; its message is for the log."""
    pem = next(iter(auth_context.get("x509_pem_cert", ())), None)
    if pem is None:
        raise Unauthenticated("no client certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        identity = check_peer(certificate, trust_domain, anchors, now)
    except NotTrusted as error:
        raise Unauthenticated(f"client certificate refused: {error}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise Unauthenticated("the client certificate is malformed") from error
    return Peer(identity, certificate.not_valid_after_utc.timestamp(), address)
