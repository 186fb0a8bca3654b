"""Who is at the other end of a TLS connection, once OpenSSL has verified the chain: SPIFFE X.509-SVID rules."""

import hashlib
import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from mesh.spiffe import InvalidSpiffeId, SpiffeId
from sidecar.net.certificate import UnreadableCertificate, is_authority


class PeerRefused(Exception):
    """The peer's certificate is valid, but not of someone we talk to. The text says why, in one line."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A peer whose certificate passed. `spiffe` is None for one outside the mesh."""

    spiffe: SpiffeId | None
    sha256: str
    """Of the certificate's DER, hexadecimal: `Hash` of x-forwarded-client-cert."""


def check_client(tls: ssl.SSLObject, trust_domains: Collection[str]) -> PeerIdentity | None:
    """The client's identity, None without a certificate. Raises PeerRefused.

    `trust_domains` empty: whoever our anchors vouch for, which at a gateway need not be a workload of any mesh. One
    that says it is has a whole SPIFFE identity.
    """
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    names = _names(tls)
    if not trust_domains and not any(kind == "URI" and value.startswith("spiffe:") for kind, value in names):
        return PeerIdentity(None, hashlib.sha256(der).hexdigest())
    spiffe = _spiffe(names)
    _require_leaf(der)
    if trust_domains and spiffe.trust_domain not in trust_domains:
        raise PeerRefused(f"trust domain {spiffe.trust_domain} is not one of {', '.join(sorted(trust_domains))}")
    return PeerIdentity(spiffe, hashlib.sha256(der).hexdigest())


def check_server(tls: ssl.SSLObject, sans: Collection[str]) -> PeerIdentity:
    """The server's identity. With `sans` it must have one of them: `scheme://` names are URI SANs, compared whole,
    the others DNS SANs. Raises PeerRefused."""
    der = tls.getpeercert(binary_form=True)
    if der is None:
        raise PeerRefused("no certificate")
    names = _names(tls)
    uris = [value for kind, value in names if kind == "URI"]
    spiffe: SpiffeId | None = None
    if uris:
        spiffe = _spiffe(names)
        _require_leaf(der)
    if sans and not _has_one_of(names, sans):
        raise PeerRefused(f"none of its names is one of {', '.join(sorted(sans))}")
    return PeerIdentity(spiffe, hashlib.sha256(der).hexdigest())


def _names(tls: ssl.SSLObject) -> list[tuple[str, str]]:
    try:
        certificate: dict[str, Any] = dict(tls.getpeercert() or {})
    except ValueError as error:  # a SAN that is no text
        raise PeerRefused("a subject alternative name is not readable") from error
    return [(kind, value) for kind, value in certificate.get("subjectAltName", ()) if isinstance(value, str)]


def _spiffe(names: Iterable[tuple[str, str]]) -> SpiffeId:
    """X.509-SVID section 2: exactly one URI SAN, and it is a SPIFFE ID."""
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1:
        raise PeerRefused(f"{len(uris)} URI names, exactly one is due")
    try:
        return SpiffeId.parse(uris[0])
    except InvalidSpiffeId as error:
        raise PeerRefused(str(error)) from None


def _require_leaf(der: bytes) -> None:
    """X.509-SVID section 5.2: a leaf is no authority."""
    try:
        authority = is_authority(der)
    except UnreadableCertificate as error:
        raise PeerRefused(f"unreadable certificate: {error}") from None
    if authority:
        raise PeerRefused("an authority's certificate where a workload's is due")


def _has_one_of(names: Iterable[tuple[str, str]], sans: Collection[str]) -> bool:
    for kind, value in names:
        if kind == "URI" and "://" in value and value in sans:
            return True
        if kind == "DNS" and any("://" not in san and _dns_match(value.lower(), san.lower()) for san in sans):
            return True
    return False


def _dns_match(pattern: str, name: str) -> bool:
    """RFC 6125: a wildcard stands for one whole leftmost label."""
    if pattern.startswith("*."):
        _, dot, rest = name.partition(".")
        return bool(dot) and rest == pattern[2:]
    return pattern == name
