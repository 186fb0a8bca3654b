"""What a request's target and the fields of its hop say about its head, framing and connection."""

from typing import Final

from sidecar.http import fields
from sidecar.http.errors import ProtocolError
from sidecar.http.h1_lines import Special
from sidecar.http.head import CHUNKED, RequestHead


def understand_target(head: RequestHead, host: bytes | None) -> None:
    """Every form but a path with a Host (RFC 9112 3.2)."""
    target = head.target
    if b"#" in target:
        raise ProtocolError(400, "http1.path_with_fragment", "the request target has a fragment")
    if head.method == b"CONNECT":
        head.authority = fields.authority(target)
        if fields.port(head.authority) is None:
            raise ProtocolError(400, "http1.invalid_url", "CONNECT without a port")
        if host is None and head.version == "HTTP/1.1":
            raise ProtocolError(400, "http1.missing_host", "no Host")
        head.target = b""
    elif host is None and (target[:1] == b"/" or head.version == "HTTP/1.1"):
        raise ProtocolError(400, "http1.missing_host", "no Host")
    elif target[:1] == b"/":
        pass
    elif target == b"*":
        if head.method != b"OPTIONS":
            raise ProtocolError(400, "http1.invalid_url", "the target * is for OPTIONS alone")
    else:
        # RFC 9112 3.2.2: the target's authority replaces Host, whatever Host says.
        head.scheme, head.authority, head.target = fields.split_absolute(target)


def understand_hop(head: RequestHead, hop: list[Special]) -> None:
    """Set what the hop's fields say on `head`. Raises ProtocolError."""
    lengths = 0
    expects = False
    upgrade: bytes | None = None
    upgrades = False
    for field in hop:
        name = field.name
        if name == b"content-length":
            head.length = field.number
            lengths += 1
        elif name == b"connection" or name == b"proxy-connection":
            if field.value != b"keep-alive" and _set_connection(head, field.value):
                upgrades = True
        elif name == b"transfer-encoding":
            _set_chunked(head, field.value)
            lengths += 1
        elif name == b"upgrade":
            upgrade = field.value if upgrade is None else upgrade + b"," + field.value
        elif name == b"te":
            if b"trailers" in fields.list_tokens(field.value):
                head.ours[b"te"] = b"trailers"
        elif name == b"expect":
            if field.value.lower() != b"100-continue":
                raise ProtocolError(417, "http1.unknown_expectation", "an expectation other than 100-continue")
            expects = True
    if lengths > 1:
        raise ProtocolError(400, "http1.ambiguous_length", "more than one Content-Length or Transfer-Encoding")
    if expects and head.version == "HTTP/1.1":
        head.headers.append((b"expect", b"100-continue"))
    if upgrades and upgrade is not None and head.version == "HTTP/1.1" and head.method != b"CONNECT":
        # RFC 9110 7.8: h2c may be ignored, and an upgrade in HTTP/1.0 must be.
        wanted = [token for token in fields.list_tokens(upgrade) if token != b"h2c"]
        if wanted:
            head.upgrade = b", ".join(wanted)


def _set_chunked(head: RequestHead, value: bytes) -> None:
    if head.version != "HTTP/1.1":
        raise ProtocolError(400, "http1.transfer_encoding_not_allowed", "Transfer-Encoding in HTTP/1.0")
    if value.lower() == b"chunked":
        head.length = CHUNKED
        return
    codings = fields.list_tokens(value)
    if codings.count(b"chunked") > 1 or b"chunked" in codings[:-1]:
        raise ProtocolError(400, "http1.invalid_transfer_encoding", "chunked is not the last coding, or there twice")
    raise ProtocolError(501, "http1.invalid_transfer_encoding", "a Transfer-Encoding other than chunked")


def _set_connection(head: RequestHead, value: bytes) -> bool:
    """Returns whether it names Upgrade."""
    tokens = fields.list_tokens(value)
    if b"close" in tokens:
        head.close = True
    named = [token for token in tokens if token not in _OPTIONS]
    if named:
        head.headers[:] = fields.without_named(head.headers, named)
    return b"upgrade" in tokens


_OPTIONS: Final = frozenset([b"close", b"keep-alive", b"upgrade"])
