"""What one header field means to HTTP/2, and whether it may be there at all. RFC 9113 8.2, RFC 9110 5.5 and 5.6.2.

A field is classified when it is first decoded; a reference to a table finds the answer beside it. Where RFC 9113 leaves
room this is strict: control characters are refused in every value, as the HTTP/1.1 readers refuse them.
"""

from typing import Final

from sidecar.http.head import Header
from sidecar.http.octets import FIELD_VALUE, LOWER_TOKEN, TOKEN, allowing, blank_at_an_end, made_of

PSEUDO: Final = 1
"""A pseudo-header field that RFC 9113 or RFC 8441 defines."""

SPECIAL: Final = 2
"""The codec has to look at the value: content-length, host, te."""

MALFORMED: Final = 4
"""The message that carries it is malformed (RFC 9113 8.1.1)."""

_PATH: Final = allowing({*range(33, 127), *range(128, 256)} - {*b"#"})
_AUTHORITY: Final = allowing({*range(33, 127)} - {*b"#/?@\\"})
_DIGITS: Final = allowing(b"0123456789")

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys((b":method", b":scheme", b":authority", b":path", b":protocol", b":status"), PSEUDO),
    **dict.fromkeys((b"content-length", b"host"), SPECIAL),
    # RFC 9113 8.2.2: of HTTP/1.1 and of the connection. `te` is judged by its value.
    **dict.fromkeys((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"), MALFORMED),
}


def classify(name: bytes, value: bytes) -> int:
    """0 for a field like any other, or PSEUDO, SPECIAL and MALFORMED ored."""
    kind = _KINDS.get(name)
    if kind is None:
        kind = 0 if name and made_of(LOWER_TOKEN, name) else MALFORMED
        if name == b"te" and value.lower() != b"trailers":
            kind = MALFORMED
    if not made_of(FIELD_VALUE, value) or blank_at_an_end(value):
        kind |= MALFORMED
    return kind


def why_malformed(header: Header) -> str:
    """What is wrong with a field that is MALFORMED; its value is never told, it may be a secret."""
    name, value = header
    shown = name[:64].decode("ascii", "backslashreplace")
    if name in _KINDS and _KINDS[name] & MALFORMED:
        return f"the connection-specific field {shown}"
    if name == b"te" and value.lower() != b"trailers":
        return "te with a value other than trailers"
    if name not in _KINDS and (not name or not made_of(LOWER_TOKEN, name)):
        return f"the field name {shown!r}"
    return f"a character that the value of {shown} can not have"


def is_token(text: bytes) -> bool:
    """RFC 9110 5.6.2, in any case: a method, a protocol."""
    return bool(text) and made_of(TOKEN, text)


def is_path(text: bytes) -> bool:
    """Begins with a slash; neither white space, nor control characters, nor a fragment."""
    return text[:1] == b"/" and made_of(_PATH, text)


def is_authority(text: bytes) -> bool:
    """Not empty; no user, and nothing that would end an authority in a URL. Whether it is a host is for others."""
    return bool(text) and made_of(_AUTHORITY, text)


def content_length(value: bytes) -> int:
    """Octets, or -1 where the value is not 1 to 18 decimal digits (RFC 9110 8.6; lists and signs are refused)."""
    if not value or len(value) > 18 or not made_of(_DIGITS, value):
        return -1
    return int(value)


def joined_cookies(headers: list[Header]) -> list[Header]:
    """`headers` with all `cookie` fields as one, where the first was: what goes to HTTP/1.1 (RFC 9113 8.2.3)."""
    crumbs = [value for name, value in headers if name == b"cookie"]
    if len(crumbs) < 2:
        return headers
    joined: list[Header] = []
    for header in headers:
        if header[0] != b"cookie":
            joined.append(header)
        elif crumbs:
            joined.append((b"cookie", b"; ".join(crumbs)))
            crumbs = []
    return joined
