"""Heads and chunks -> bytes. A head is written once, from parts that the readers have checked."""

from http import HTTPStatus

from sidecar.http.head import CHUNKED, End, Header

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b" % (code, _REASONS.get(code, b"Unknown")) for code in range(100, 600)}
_pair = b": ".join

LAST_CHUNK = b"0\r\n\r\n"


def request_head(method: bytes, target: bytes, authority: bytes, headers: list[Header], length: int) -> bytes:
    """`length`: body bytes or CHUNKED. A bodyless POST or PUT says `content-length: 0` (RFC 9110 8.6)."""
    lines = [b"%b %b HTTP/1.1\r\nhost: %b" % (method, target, authority)]
    lines.extend(map(_pair, headers))
    if length > 0:
        lines.append(b"content-length: %d\r\n\r\n" % length)
    elif length == CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n\r\n")
    elif method in _SAY_NO_BODY:
        lines.append(b"content-length: 0\r\n\r\n")
    else:
        lines.append(b"\r\n")
    return b"\r\n".join(lines)


_SAY_NO_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


def response_head(status: int, headers: list[Header], framing: bytes) -> bytes:
    """`framing` is what `response_framing` returned: the hop's own fields and the end of the head."""
    lines = [_STATUS_LINES[status]]
    lines.extend(map(_pair, headers))
    lines.append(framing)
    return b"\r\n".join(lines)


def response_framing(status: int, length: int, *, close: bool) -> bytes:
    """`length`: the body's bytes, CHUNKED, or UNTIL_CLOSE where nothing is said (then `close` must hold, unless the
    status or method has no body)."""
    end = b"connection: close\r\n\r\n" if close else b"\r\n"
    if length == CHUNKED:
        return b"transfer-encoding: chunked\r\n" + end
    if length >= 0 and status >= 200 and status != 204:
        return b"content-length: %d\r\n%b" % (length, end)
    return end


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(end: End) -> bytes:
    """The chunk that ends a body, with its trailers."""
    if not end.trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"\r\n".join(map(_pair, end.trailers)) + b"\r\n\r\n"
