"""Istio's `headers`: what is set, added and removed on the request and on the response."""

from pydantic import Field, field_validator

from control.api.model import Model, wrong
from control.api.scalars import HeaderName, HeaderValue, shorten

OWNED = ("host", ":authority", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer")


class HeaderOperations(Model):
    """Header changes. Removal first, then set, then add."""

    set: dict[HeaderName, HeaderValue] = Field(max_length=32, default_factory=dict)
    """Replaced or put in."""
    add: dict[HeaderName, HeaderValue] = Field(max_length=32, default_factory=dict)
    """Put in beside what is there."""
    remove: tuple[HeaderName, ...] = Field(default=(), max_length=32)
    """Taken out."""

    @field_validator("set", "add", "remove")
    @classmethod
    def _not_framing(cls, value: dict[str, str] | tuple[str, ...]) -> dict[str, str] | tuple[str, ...]:
        for name in value:
            if name.lower() in OWNED:
                hint = "; to change the host write rewrite.authority" if name.lower() == "host" else ""
                raise wrong(f"names {shorten(name)}, which belongs to the connection and cannot be edited{hint}")
        return value


class Headers(Model):
    """Both directions."""

    request: HeaderOperations | None = None
    """Towards the destination."""
    response: HeaderOperations | None = None
    """Towards the client."""
