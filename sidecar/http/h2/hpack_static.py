"""HPACK's static table (RFC 7541 appendix A), and a header field as both tables hold it."""

from typing import Final

from sidecar.http.h2 import fields
from sidecar.http.head import Header

ENTRY_OVERHEAD: Final = 32
"""Octets that a field counts beyond its name and value (RFC 7541 4.1, RFC 9113 6.5.2)."""


class Entry:
    """One field of a table: what it means has been found out once, however often it is referred to."""

    __slots__ = ("field", "kind", "size")

    def __init__(self, field: Header) -> None:
        self.field = field
        self.kind = fields.classify(field[0], field[1])
        self.size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD


FIELDS: Final[tuple[Header, ...]] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)

STATIC: Final[list[Entry]] = [Entry((b"", b"")), *(Entry(field) for field in FIELDS)]
"""By index. Index 0 is never valid (RFC 7541 6.1); the entry there only keeps the numbers right."""

FIRST_DYNAMIC: Final = len(STATIC)
"""The index of the newest entry of the dynamic table."""

WHOLE: Final[dict[Header, bytes]] = {field: bytes((0x80 | at,)) for at, field in enumerate(FIELDS, 1)}
"""Fields that one octet stands for."""

NAMES: Final[dict[bytes, int]] = {field[0]: at for at, field in reversed(list(enumerate(FIELDS, 1)))}
"""The first index of each name."""
