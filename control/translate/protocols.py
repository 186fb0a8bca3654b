"""Protocols of ports to what they mean for proxies."""

from control.api.protocols import AUTO
from control.ir.services import Protocol

_MEANING = {
    "HTTP": Protocol.HTTP,
    "GRPC-WEB": Protocol.HTTP,
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.HTTP2,
    "TLS": Protocol.TLS,
    "HTTPS": Protocol.TLS,
    AUTO: Protocol.AUTO,
}


def protocol(name: str) -> Protocol:
    """Of a name that `control.api.protocols` gives; databases are TCP."""
    return _MEANING.get(name, Protocol.TCP)
