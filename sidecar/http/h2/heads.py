"""Whether header fields are a head or trailers that HTTP/2 allows, and what they say. RFC 9113 8.1 to 8.5, RFC 8441.

Each function fills the event and returns "", or says why the message is malformed.
"""

from typing import Final

from sidecar.http.h2.events import Headers
from sidecar.http.h2.fields import (
    MALFORMED,
    SPECIAL,
    classify,
    content_length,
    is_authority,
    is_path,
    is_token,
    why_malformed,
)

_METHOD: Final = 1
_SCHEME: Final = 2
_AUTHORITY: Final = 4
_PATH: Final = 8
_PROTOCOL: Final = 16

_BODILESS: Final = frozenset([204, 304])


def read_request(head: Headers, kinds: int, pseudo: int, extended_connect: bool) -> str:
    """`kinds` and `pseudo` are the decoder's. `extended_connect`: we have announced RFC 8441."""
    if kinds & MALFORMED:
        return _malformed(head)
    fields = head.fields
    seen = 0
    for at in range(pseudo):
        name, value = fields[at]
        if name == b":method":
            bit = _METHOD
            head.method = value
        elif name == b":path":
            bit = _PATH
            head.path = value
        elif name == b":authority":
            bit = _AUTHORITY
            head.authority = value
        elif name == b":scheme":
            bit = _SCHEME
            head.scheme = value
        elif name == b":protocol":
            bit = _PROTOCOL
            head.protocol = value
        elif name == b":status":
            return ":status in a request"
        else:
            return "a pseudo-header behind other fields"
        if seen & bit:
            return f"{name.decode()} twice"
        seen |= bit
    head.skip = pseudo
    if seen & (_METHOD | _SCHEME | _PATH) != _METHOD | _SCHEME | _PATH or head.method == b"CONNECT" or seen & _PROTOCOL:
        problem = _unusual(head, seen, extended_connect)
        if problem:
            return problem
    elif not is_path(head.path) and (head.path != b"*" or head.method != b"OPTIONS"):
        return "a :path that is no path"
    if not is_token(head.method):
        return "a :method that is no token"
    if head.scheme != b"http" and head.scheme != b"https" and seen & _SCHEME:
        head.scheme = head.scheme.lower()
        if not is_token(head.scheme) or not head.scheme[:1].isalpha():
            return "a :scheme that is none"
    if seen & _AUTHORITY and not is_authority(head.authority):
        return "an :authority that is none"
    return _specials(head, seen) if kinds & SPECIAL else ""


def _unusual(head: Headers, seen: int, extended_connect: bool) -> str:
    """A CONNECT, or a request that lacks something."""
    if head.method != b"CONNECT":
        return ":protocol without CONNECT" if seen & _PROTOCOL else "a pseudo-header is missing"
    if not seen & _AUTHORITY:
        return "CONNECT without :authority"
    if seen & _PROTOCOL:
        if not extended_connect:
            return ":protocol, which was not offered"
        if not seen & _SCHEME or not seen & _PATH:
            return "a pseudo-header is missing"
        if not is_path(head.path):
            return "a :path that is no path"
        return "" if is_token(head.protocol) else "a :protocol that is no token"
    return "CONNECT with :scheme or :path" if seen & (_SCHEME | _PATH) else ""


def _specials(head: Headers, seen: int) -> str:
    """Fields whose values matter here."""
    hosts = lengths = 0
    for name, value in head.fields:
        if name == b"content-length":
            lengths += 1
            declared = content_length(value)
            if declared < 0 or lengths > 1:
                return "content-length is no number, or there are two"
            if head.end and declared and not _may_declare(head):
                return "content-length, and no body"
            head.length = declared
        elif name == b"host" and head.status == 0:
            hosts += 1
            if hosts > 1:
                return "host twice"
            if not seen & _AUTHORITY:
                if not is_authority(value):
                    return "a host that is none"
                head.authority = value
            elif value.lower() != head.authority.lower():
                return "host and :authority differ"
    return ""


def _may_declare(head: Headers) -> bool:
    """A response says how long the body would be that it does not have; to which request, the connection knows."""
    return head.status != 0


def read_response(head: Headers, kinds: int, pseudo: int) -> str:
    """Whether a body may follow is for the stream to know: content-length is only read."""
    if kinds & MALFORMED:
        return _malformed(head)
    fields = head.fields
    if pseudo != 1 or fields[0][0] != b":status":
        return "a response's only pseudo-header is :status, and it is first"
    text = fields[0][1]
    if len(text) != 3 or not text.isdigit() or not b"100" <= text <= b"599" or text == b"101":
        return "a :status that is none"
    head.status = int(text)
    head.skip = 1
    return _specials(head, 0) if kinds & SPECIAL else ""


def has_body(status: int) -> bool:
    """RFC 9110 6.4.1, for every method but HEAD."""
    return status not in _BODILESS


def read_trailers(head: Headers, kinds: int, pseudo: int) -> str:
    """RFC 9113 8.1: fields only, and nothing follows."""
    if kinds & MALFORMED:
        return _malformed(head)
    if pseudo:
        return "a pseudo-header in trailers"
    return "" if head.end else "a second head"


def _malformed(head: Headers) -> str:
    for header in head.fields:
        if classify(header[0], header[1]) & MALFORMED:
            return why_malformed(header)
    return "a malformed field"
