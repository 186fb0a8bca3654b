"""SPIFFE identities. Parsing is strict: what two readers could understand differently is refused."""

import re
from dataclasses import dataclass

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_TRUST_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9._]{0,253}[a-z0-9])?\Z")
_URI = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)\Z")

MAX_URI_BYTES = 2048
"""SPIFFE-ID section 2.3: implementations must support up to, and may refuse beyond, 2048 bytes."""


class InvalidSpiffeId(ValueError):
    """The text is not `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`."""


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A workload's identity, `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT` (SPIFFE-ID; Istio's layout)."""

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.match(self.trust_domain):
            raise InvalidSpiffeId(f"trust domain {self.trust_domain!r} is not a lower-case DNS name")
        if not _LABEL.match(self.namespace):
            raise InvalidSpiffeId(f"namespace {self.namespace!r} is not a lower-case DNS label")
        if not _NAME.match(self.service_account):
            raise InvalidSpiffeId(f"service account {self.service_account!r} is not a lower-case DNS name")

    @classmethod
    def parse(cls, uri: str) -> "SpiffeId":
        """Raises InvalidSpiffeId for anything but the exact form; upper case, ports, queries and escapes included."""
        match = _URI.match(uri) if len(uri) <= MAX_URI_BYTES else None
        if match is None:
            raise InvalidSpiffeId(f"{uri[:100]!r} is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")
        return cls(match[1], match[2], match[3])

    @property
    def principal(self) -> str:
        """The form that Istio's metrics and policies use: the URI without its scheme."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return f"spiffe://{self.principal}"
