"""What a port speaks: said by `appProtocol`, by the beginning of the port's name, or by nobody.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
"""

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from control.api.model import wrong
from control.api.scalars import shorten

AUTO = "AUTO"
"""Nobody says: found out by what a connection begins with."""

REQUESTS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
"""Protocols whose requests are routed; the others are bytes to us."""

_BYTES = frozenset({"TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS"})
_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
_SERVERS_SPEAK_FIRST = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL, MongoDB: Istio takes an undeclared port of these numbers for TCP, since to wait for the client's
first bytes would be to wait for nothing."""


def protocol_of(name: str | None, number: int = 0, app_protocol: str | None = None) -> str:
    """One of REQUESTS, `TCP`, `TLS`, `HTTPS`, `MONGO`, `MYSQL`, `REDIS`, or AUTO."""
    said = (_APP_PROTOCOLS.get(app_protocol, app_protocol) if app_protocol else name) or ""
    upper = said.upper()
    prefix = "GRPC-WEB" if upper == "GRPC-WEB" or upper.startswith("GRPC-WEB-") else upper.partition("-")[0]
    if prefix in REQUESTS or prefix in _BYTES:
        return prefix
    return "TCP" if number in _SERVERS_SPEAK_FIRST else AUTO


def _protocol(value: object) -> object:
    if not isinstance(value, str) or value.upper() not in REQUESTS | _BYTES:
        raise wrong(f"is {shorten(value)}; write one of {', '.join(sorted(REQUESTS | _BYTES))}")
    return value.upper()


def any_case(word: str) -> str:
    """A regex of `word` in any case, for those who have no flag for it."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in word)


_ANY = "|".join(map(any_case, sorted(REQUESTS | _BYTES)))

Protocol = Annotated[
    str, BeforeValidator(_protocol), WithJsonSchema({"type": "string", "pattern": f"^({_ANY})$", "maxLength": 16})
]
"""As Istio's own resources write it: `HTTP`, `grpc`, `TLS`, in any case."""
