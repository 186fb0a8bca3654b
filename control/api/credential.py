"""A certificate with its key that a gateway shows: what a Secret of type kubernetes.io/tls holds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """PEM. The key shows in no text form."""

    chain_pem: str
    """The gateway's certificate first."""
    key_pem: str = field(repr=False)
    authorities_pem: str = ""
    """Whom clients' certificates must be of; empty: there are none to ask for."""
    ends_at: float = 0.0
    """When the gateway's certificate is valid no more, in seconds since the epoch; 0: not known."""
