"""The one place where answers of our own are worded: status, fields and body as Envoy's, without any of its markup."""

from sidecar.filters.chain import LocalReply
from sidecar.http.errors import ProtocolError
from sidecar.http.head import Header, ResponseHead

NO_ROUTE = LocalReply(404, flag="NR", details="route_not_found")
REQUEST_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout")
IDLE_BEFORE_END = LocalReply(408, b"stream timeout", flag="SI", details="stream_idle_timeout")
IDLE_AFTER_END = LocalReply(504, b"stream timeout", flag="SI", details="stream_idle_timeout")
REQUEST_TOO_SLOW = LocalReply(408, b"request timeout", details="request_overall_timeout")
DURATION_BEFORE_END = LocalReply(408, b"downstream duration timeout", flag="DT", details="max_duration_timeout")
DURATION_AFTER_END = LocalReply(504, b"downstream duration timeout", flag="DT", details="max_duration_timeout")
OVERLOADED = LocalReply(503, b"overloaded", flag="OM", details="overload")
NO_TUNNELS = LocalReply(403, details="upgrade_failed")
INTERNAL = LocalReply(500, b"internal error", flag="LR", details="internal_error")

_PLAIN: Header = (b"content-type", b"text/plain")


def of_protocol_error(error: ProtocolError) -> LocalReply:
    """What a client is told about a malformed request: the status, and nothing of our parser's words."""
    return LocalReply(error.status, _BODIES.get(error.status, b"Bad Request"), flag="DPE", details=error.details)


_BODIES = {
    403: b"",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


def render(reply: LocalReply) -> tuple[ResponseHead, bytes]:
    """The reply as a head and a body."""
    headers = list(reply.headers)
    if reply.body and not any(name == b"content-type" for name, _ in headers):
        headers.append(_PLAIN)
    return ResponseHead(reply.status, headers, length=len(reply.body)), reply.body
