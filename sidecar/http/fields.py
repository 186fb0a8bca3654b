"""Header fields that the codec itself must understand. RFC 9110 and 9112; stricter where implementations differ."""

import re
from functools import lru_cache
from typing import Final

from sidecar.http.errors import ProtocolError
from sidecar.http.head import Header

HOP: Final[frozenset[bytes]] = frozenset(
    [
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
"""Fields of a request that end at this hop or that the codec answers for."""

OURS: Final[frozenset[bytes]] = frozenset(
    [
        b"traceparent",
        b"user-agent",
        b"x-envoy-attempt-count",
        b"x-envoy-peer-metadata",
        b"x-envoy-peer-metadata-id",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-request-id",
    ]
)
"""Fields of a request that the proxy reads, makes, replaces or drops: codecs put them into `RequestHead.ours`."""

REQUEST_SPECIAL: Final[frozenset[bytes]] = HOP | OURS

RESPONSE_HOP: Final[frozenset[bytes]] = frozenset(
    [
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
"""The same for a response."""

RESPONSE_SPECIAL: Final[frozenset[bytes]] = RESPONSE_HOP | {
    b"date",
    b"server",
    b"x-envoy-peer-metadata",
    b"x-envoy-peer-metadata-id",
    b"x-envoy-upstream-service-time",
}
"""Fields of a response that this hop answers for; those without a meaning to the codec are dropped."""

_NOT_TRAILING = REQUEST_SPECIAL.union(
    RESPONSE_SPECIAL,
    b"age authorization cache-control content-encoding content-location content-range content-type cookie".split(),
    b"expires forwarded if-match if-modified-since if-none-match if-range if-unmodified-since location".split(),
    b"max-forwards origin pragma range referer retry-after set-cookie vary warning www-authenticate".split(),
)
_NOT_TRAILING_PREFIXES = (b"x-forwarded-", b"x-envoy-", b"x-b3-", b"proxy-", b"sec-", b"access-control-", b":")


def trailing(headers: list[Header]) -> list[Header]:
    """`headers` without those that must not come behind a body (RFC 9110 6.5.1): what frames, routes, authenticates,
    modifies or describes a message, and what the mesh vouches for. The one place where this is decided, for both
    codecs and directions; a message can be judged by its head alone."""
    return [
        header
        for header in headers
        if header[0] not in _NOT_TRAILING and not header[0].startswith(_NOT_TRAILING_PREFIXES)
    ]


# RFC 3986 host without userinfo, percent-encoding or sub-delims: names of services, IPv4 and bracketed IPv6.
_AUTHORITY = re.compile(rb"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9._])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([/?].*)?\Z", re.IGNORECASE | re.DOTALL)

_IDEMPOTENT = frozenset([b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"])


def idempotent(method: bytes) -> bool:
    """RFC 9110 9.2.2: sent twice it does what it does sent once."""
    return method in _IDEMPOTENT


@lru_cache(maxsize=4096)
def authority(text: bytes) -> bytes:
    """Host and port in lower case. Raises ProtocolError for anything but a name or address with an optional port."""
    lower = text.lower()
    if _AUTHORITY.match(lower) is None or len(lower) > 260:
        raise ProtocolError(400, "http1.invalid_authority", "Host is not a host name or address with an optional port")
    _, colon, port = lower.rpartition(b":")
    if colon and port.isdigit() and int(port) > 65535:
        raise ProtocolError(400, "http1.invalid_authority", "the port in Host is beyond 65535")
    return lower


def port(text: bytes) -> int | None:
    """The port of what `authority` has let through."""
    _, colon, digits = text.rpartition(b":")
    return int(digits) if colon and digits.isdigit() else None


def split_absolute(target: bytes) -> tuple[bytes, bytes, bytes]:
    """Scheme, authority and origin-form of an absolute-form target (RFC 9112 3.2.2). Raises ProtocolError."""
    match = _ABSOLUTE.match(target)
    if match is None:
        raise ProtocolError(400, "http1.invalid_url", "the request target is not a path nor an http URL")
    rest = match[3] or b"/"
    if rest[:1] == b"?":
        rest = b"/" + rest
    return match[1].lower(), authority(match[2]), rest


def list_tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, in lower case, empty ones left out."""
    return [token for token in (part.strip().lower() for part in value.split(b",")) if token]


def without_named(headers: list[Header], tokens: list[bytes]) -> list[Header]:
    """`headers` without those that Connection named (RFC 9110 7.6.1).

    What the mesh itself relies on can not be named away: an outside client must not strip what an earlier hop set.
    """
    named = {token for token in tokens if not token.startswith(_KEPT) and token not in _KEPT_NAMES}
    return [header for header in headers if header[0] not in named]


_KEPT = (b"x-forwarded-", b"x-envoy-")
_KEPT_NAMES = frozenset([b"x-request-id", b"traceparent", b"authorization", b"cookie", b"content-type"])
