"""Certificates and trust anchors by name. SDS `Secret`. The key's text never shows in a repr."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Certificate:
    """Our chain, leaf first, and its key, PEM; the key exists in memory only."""

    name: str
    chain_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """Certificates of the authorities whose leaves we accept, PEM, one or more."""

    name: str
    pem: str
