"""Heads and chunks -> bytes. A head is written once, from parts that the readers have checked."""

from http import HTTPStatus

from sidecar.http.head import CHUNKED, Header

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b" % (code, _REASONS.get(code, b"Unknown")) for code in range(100, 600)}

_DECIMALS = [b"%d" % number for number in range(1000)]

LAST_CHUNK = b"0\r\n\r\n"


def decimal(number: int) -> bytes:
    """In digits; `number` is not negative. Small ones, as most are, are not formatted each time."""
    return _DECIMALS[number] if number < 1000 else b"%d" % number


def _head(first: bytes, headers: list[Header], rest: bytes) -> bytes:
    """`first` without its line's end; `rest` follows the fields' last."""
    lines = [first]
    for name, value in headers:
        lines.append(b"%b: %b" % (name, value))  # compiled, a third less than joining the two
    lines.append(rest)
    return b"\r\n".join(lines)


def request_head(
    method: bytes, target: bytes, authority: bytes, headers: list[Header], length: int, more: bytes = b""
) -> bytes:
    """`length`: body bytes or CHUNKED. A bodyless POST or PUT says `content-length: 0` (RFC 9110 8.6). `more`: further
    fields from `render_fields`."""
    if length == 0 and method not in _SAY_NO_BODY:
        framing = more + b"\r\n"
    elif length == CHUNKED:
        framing = more + b"transfer-encoding: chunked\r\n\r\n"
    else:
        framing = b"%bcontent-length: %b\r\n\r\n" % (more, decimal(length))
    return _head(b"%b %b HTTP/1.1\r\nhost: %b" % (method, target, authority), headers, framing)


_SAY_NO_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


def render_fields(headers: list[Header]) -> bytes:
    """Fields that many heads share, as `more`."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def response_head(status: int, headers: list[Header], length: int, close: bool, more: bytes = b"") -> bytes:
    """`length`: the body's bytes, CHUNKED, or UNTIL_CLOSE where nothing is said (then `close` must hold, unless the
    status or method has no body). `more`: further fields from `render_fields`."""
    end = b"connection: close\r\n\r\n" if close else b"\r\n"
    if length >= 0 and status != 204:
        framing = b"%bcontent-length: %b\r\n%b" % (more, decimal(length), end)
    elif length == CHUNKED and status != 204:
        framing = more + b"transfer-encoding: chunked\r\n" + end
    else:
        framing = more + end
    return _head(_STATUS_LINES[status], headers, framing)


def informational_head(status: int, headers: list[Header]) -> bytes:
    """A 1xx answer: no framing fields."""
    return _head(_STATUS_LINES[status], headers, b"\r\n")


def switching_head(protocol: bytes, headers: list[Header]) -> bytes:
    """A 101 answer (RFC 9110 7.8): what follows is `protocol`."""
    upgrade = b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % protocol
    return _head(_STATUS_LINES[101], headers, upgrade)


def tunnel_head(status: int, headers: list[Header], more: bytes) -> bytes:
    """A CONNECT that was granted (RFC 9110 9.3.6): no framing fields, and what follows is the tunnel."""
    return _head(_STATUS_LINES[status], headers, more + b"\r\n")


def upgrade_fields(protocol: bytes) -> bytes:
    """What a request asks for a switch of protocols with, as `more` of its head."""
    return b"connection: upgrade\r\nupgrade: %b\r\n" % protocol


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: list[Header] | None) -> bytes:
    """The chunked body's end with the fields behind it (RFC 9112 7.1.2)."""
    return LAST_CHUNK if not trailers else b"0\r\n%b\r\n" % render_fields(trailers)
