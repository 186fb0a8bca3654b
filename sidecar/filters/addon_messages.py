"""Requests and answers as an addon script gets them, and what it made of them, checked like a stranger's: a script that
is wrong must not put a second request or a header of its own making on a wire. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from sidecar.filters.chain import LocalReply
from sidecar.http.errors import ProtocolError
from sidecar.http.fields import authority
from sidecar.http.head import Header, RequestHead, ResponseHead

MAX_HEADERS: Final = 200
MAX_HEADER_BYTES: Final = 128 * 1024

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,256}\Z")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\Z")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_TARGET = re.compile(rb"/[\x21-\x7e\x80-\xff]*\Z")
_HOP = frozenset(
    [
        b"connection", b"content-length", b"host", b"http2-settings", b"keep-alive", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    ]
)  # fmt: skip
"""What the hop itself says; of a script's it is left out."""


class BadAnswer(ValueError):
    """The script made something that is no request or no answer."""


def request_for(head: RequestHead, body: bytes | None, client: str, route: str) -> dict[str, Any]:
    """For the script. `body` None: it is too long to be shown."""
    return {
        "method": head.method,
        "scheme": head.scheme,
        "authority": head.authority,
        "target": head.target,
        "version": head.version,
        "headers": _with_length(head.headers, head.length),
        "body": body,
        "client": client,
        "route": route,
    }


def answer_for(head: ResponseHead, body: bytes | None) -> dict[str, Any]:
    """For the script."""
    length = head.length if body is None else len(body)
    return {"status": head.status, "headers": _with_length(head.headers, length), "body": body}


def apply_request(plain: Mapping[str, Any], head: RequestHead, *, shown: bool) -> bytes | None:
    """Change `head` as the script did; returns the new body, None where it was not shown. Raises BadAnswer, and then
    nothing is changed."""
    method, target = _bytes(plain, "method"), _bytes(plain, "target")
    if not _METHOD.match(method):
        raise BadAnswer(f"{method[:60]!r} is no method")
    if not _TARGET.match(target) or len(target) > MAX_HEADER_BYTES:
        raise BadAnswer(f"{target[:60]!r} is no path")
    try:
        host = authority(_bytes(plain, "authority"))
    except ProtocolError as error:
        raise BadAnswer(f"Host: {error.reason}") from error
    headers = _headers(plain)
    body = _bytes(plain, "body") if shown else None
    head.method, head.target, head.authority, head.headers = method, target, host, headers
    return body


def apply_answer(plain: Mapping[str, Any], head: ResponseHead, *, shown: bool) -> bytes | None:
    """Change `head` as the script did; returns the new body, None where it was not shown. Raises BadAnswer."""
    status, headers = _status(plain), _headers(plain)
    body = _bytes(plain, "body") if shown else None
    if body and (status in (204, 304)):
        raise BadAnswer(f"an answer with status {status} has no body")
    head.status, head.headers = status, headers
    head.dated = any(name == b"date" for name, _ in headers)
    return body


def reply_of(plain: Mapping[str, Any], name: str) -> LocalReply:
    """An answer of the script's own. Raises BadAnswer."""
    headers = [field for field in _headers(plain) if field[0] != b"date"]
    body = _bytes(plain, "body")
    status = _status(plain)
    if body and (status in (204, 304)):
        raise BadAnswer(f"an answer with status {status} has no body")
    return LocalReply(status, body, details=f"addon_response{{{name}}}", headers=headers)


def is_stream(head: RequestHead | ResponseHead) -> bool:
    """gRPC and server-sent events: the other side waits for an answer to each message."""
    content_type = head.get(b"content-type")
    return content_type is not None and content_type.startswith((b"application/grpc", b"text/event-stream"))


def _with_length(headers: list[Header], length: int) -> list[Header]:
    return [*headers, (b"content-length", b"%d" % length)] if length > 0 else headers


def _status(plain: Mapping[str, Any]) -> int:
    status = plain.get("status")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise BadAnswer(f"{str(status)[:60]!r} is no status of an answer; 200 to 599 are")
    return status


def _bytes(plain: Mapping[str, Any], name: str) -> bytes:
    value = plain.get(name)
    if not isinstance(value, bytes):
        raise BadAnswer(f"{name}: no bytes")
    return value


def _headers(plain: Mapping[str, Any]) -> list[Header]:
    """Without what the hop says itself."""
    pairs = plain.get("headers")
    if not isinstance(pairs, list) or len(pairs) > MAX_HEADERS:
        raise BadAnswer(f"headers: no list of at most {MAX_HEADERS}")
    found: list[Header] = []
    size = 0
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadAnswer("headers: no pairs")
        name, value = pair
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise BadAnswer("headers: no bytes")
        value = value.strip(b" \t")
        size += len(name) + len(value)
        if not _NAME.match(name):
            raise BadAnswer(f"{name[:60]!r} is no header's name")
        if not _VALUE.match(value):
            raise BadAnswer(f"the value of {name.decode('ascii')} has characters that no header may have")
        if name not in _HOP:
            found.append((name, value))
    if size > MAX_HEADER_BYTES:
        raise BadAnswer(f"headers of {size} bytes")
    return found
