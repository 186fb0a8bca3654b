"""HTTP/2 messages <-> the heads that the proxy works with. Fields are sorted as the HTTP/1.1 readers sort them.

The codec has refused what HTTP/2 forbids; refused here is what must not reach an HTTP/1.1 peer or a router either.
"""

from typing import Final

from sidecar.http import fields, grpc, paths
from sidecar.http.errors import ProtocolError
from sidecar.http.field_lines import FieldLines
from sidecar.http.h2.events import Headers
from sidecar.http.h2.fields import joined_cookies
from sidecar.http.head import UNTIL_CLOSE, Header, RequestHead, ResponseHead

MAX_TARGET_BYTES: Final = 16 * 1024
"""A longer :path is answered 414."""

_SCHEMES: Final = (b"http", b"https")
_STATUS: Final = {code: (b":status", b"%d" % code) for code in range(100, 600)}
_GRPC_TE: Final = (b"te", b"trailers")


def request_of(event: Headers) -> RequestHead:
    """Raises ProtocolError: the stream is answered with its status."""
    headers: list[Header] = []
    ours: dict[bytes, bytes] = {}
    crumbs = 0
    content_type = b""
    all_fields = event.fields
    for at in range(event.skip, len(all_fields)):
        field = all_fields[at]
        name = field[0]
        if name in fields.REQUEST_SPECIAL:
            _sort(field, headers, ours)
            continue
        if name == b"cookie":
            crumbs += 1
        elif name == b"content-type":
            content_type = field[1]
        headers.append(field)
    if crumbs > 1:
        headers = joined_cookies(headers)
    method = event.method
    target = event.path
    if not event.authority:
        raise ProtocolError(400, "http2.missing_authority", "neither :authority nor host")
    authority = fields.authority(event.authority)
    upgrade: bytes | None = None
    if method == b"CONNECT":
        if event.protocol:
            # As Envoy: what RFC 8441 has in an upgrade's place is an upgrade to whoever routes and forwards it.
            upgrade = event.protocol.lower()
            method = b"GET"
            _check_scheme(event)
        elif fields.port(authority) is None:
            raise ProtocolError(400, "http2.invalid_authority", "CONNECT without a port")
        else:
            upgrade = b"connect"
    elif event.scheme not in _SCHEMES:
        raise ProtocolError(400, "http2.invalid_scheme", "a scheme other than http and https")
    if not target.isascii():
        raise ProtocolError(400, "http2.invalid_path", "octets in :path that are not ASCII")
    if len(target) > MAX_TARGET_BYTES:
        raise ProtocolError(414, "http2.target_too_large", f":path over {MAX_TARGET_BYTES} bytes")
    if paths.is_odd(target):
        target = paths.normalize(target)
    scheme = event.scheme or b"http"  # of a CONNECT, which has none, as in HTTP/1.1
    head = RequestHead(method, target, authority, headers, scheme, "HTTP/2", event.length, False, ours)
    if upgrade is not None:
        head.upgrade = upgrade
        head.length = 0  # what follows is no body
        return head
    head.grpc = grpc.is_grpc(content_type)
    return head


def _check_scheme(event: Headers) -> None:
    if event.scheme not in _SCHEMES:
        raise ProtocolError(400, "http2.invalid_scheme", "a scheme other than http and https")


def _sort(field: Header, headers: list[Header], ours: dict[bytes, bytes]) -> None:
    """A field that the proxy or the codec answers for."""
    name, value = field
    if name in fields.OURS:
        ours[name] = ours[name] + b"," + value if name in ours else value
    elif name == b"te":
        ours[name] = value
    elif name == b"expect":
        if value.lower() != b"100-continue":
            raise ProtocolError(417, "http2.unknown_expectation", "an expectation other than 100-continue")
        headers.append((name, b"100-continue"))


def request_fields(head: RequestHead, more: FieldLines) -> list[Header]:
    """A request's head as an upstream gets it."""
    if head.upgrade is not None:
        return _tunnel_fields(head, head.upgrade, more)
    listed: list[Header] = [
        (b":method", head.method),
        (b":scheme", head.scheme),
        (b":authority", head.authority),
        (b":path", head.target),
    ]
    listed += head.headers
    if more.headers:
        listed += more.headers
    if head.length > 0:
        listed.append((b"content-length", b"%d" % head.length))
    if head.grpc or b"te" in head.ours:
        listed.append(_GRPC_TE)
    return listed


def _tunnel_fields(head: RequestHead, upgrade: bytes, more: FieldLines) -> list[Header]:
    """CONNECT, or RFC 8441's in place of an upgrade. It needs no `sec-websocket-key`, but an Envoy that makes HTTP/1.1
    of it again expects one."""
    listed: list[Header] = [(b":method", b"CONNECT")]
    if head.target:
        listed.append((b":protocol", upgrade))
        listed.append((b":scheme", head.scheme))
    listed.append((b":authority", head.authority))
    if head.target:
        listed.append((b":path", head.target))
    listed += head.headers
    listed += more.headers
    return listed


def granted(head: ResponseHead, upgrade: bytes, connect: bool) -> None:
    """A 2xx answer to such a request: what HTTP/1.1 would have said. `connect`: it was a CONNECT."""
    head.upgrade = upgrade
    head.length = UNTIL_CLOSE
    if not connect:
        head.status = 101


def response_of(event: Headers) -> ResponseHead:
    """A head, informational ones included."""
    headers: list[Header] = []
    head = ResponseHead(event.status, headers, "HTTP/2", event.length)
    all_fields = event.fields
    for at in range(event.skip, len(all_fields)):
        field = all_fields[at]
        name = field[0]
        if name not in fields.RESPONSE_SPECIAL:
            headers.append(field)
        elif name == b"date":
            headers.append(field)
            head.dated = True
    return head


def response_fields(head: ResponseHead, server: Header, upstream_ms: float) -> list[Header]:
    """An answer's head as a client gets it; `upstream_ms` below zero is not told."""
    listed: list[Header] = [_STATUS[head.status]]
    listed += head.headers
    if upstream_ms >= 0.0:
        listed.append((b"x-envoy-upstream-service-time", b"%d" % upstream_ms))
    listed.append(server)
    if head.length > 0:
        listed.append((b"content-length", b"%d" % head.length))
    return listed


def informational_fields(head: ResponseHead) -> list[Header]:
    """A 1xx head as a client gets it."""
    return [_STATUS[head.status], *head.headers]
