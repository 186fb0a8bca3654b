"""What gRPC says in HTTP's terms: deadlines, outcomes, and where one message ends. No message is looked into.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and doc/http-grpc-status-mapping.md
"""

from typing import Final

from sidecar.http.head import Header

MAX_TIMEOUT_S: Final = 86_400.0
"""Whatever a request asks for, it ends within a day."""

UNKNOWN: Final = 2
DEADLINE_EXCEEDED: Final = 4
CANCELLED: Final = 1
INTERNAL: Final = 13

_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

# As Envoy answers; 429 and the 5xx of gateways invite to try again.
_STATUSES: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, from 0 on.
_HTTP: Final = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)

_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {0x25}
_SHOWN_BYTES: Final = 1024
_PREFIX_BYTES: Final = 5


def is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, with a message format or parameters or without; not gRPC-Web."""
    return content_type[:16] == b"application/grpc" and content_type[16:17] in (b"", b"+", b";")


def timeout_s(value: bytes) -> float | None:
    """Of `grpc-timeout`: at most eight digits and a unit; at most MAX_TIMEOUT_S. None for anything else."""
    unit = _UNITS.get(value[-1:])
    digits = value[:-1]
    if unit is None or not digits.isdigit() or len(digits) > 8:
        return None
    return min(int(digits) * unit, MAX_TIMEOUT_S)


def status_of_http(status: int) -> int:
    """The gRPC status for an HTTP status that came without one."""
    return _STATUSES.get(status, UNKNOWN)


def http_of_status(status: int) -> int:
    """The HTTP status that a gRPC status stands for; of one that nobody knows 500."""
    return _HTTP[status] if status < len(_HTTP) else 500


def find_status(headers: list[Header]) -> int | None:
    """`grpc-status`, UNKNOWN if it is no number from 0 to 999; None where there is none."""
    for name, value in headers:
        if name == b"grpc-status":
            return int(value) if value.isdigit() and len(value) <= 3 else UNKNOWN
    return None


def read_status(headers: list[Header]) -> int:
    """The same; UNKNOWN where there is none."""
    found = find_status(headers)
    return UNKNOWN if found is None else found


def outcome(status: int, message: bytes) -> list[Header]:
    """The fields that tell an outcome, the message percent-encoded and of bounded length."""
    fields: list[Header] = [(b"grpc-status", b"%d" % status)]
    if message:
        shown = message[:_SHOWN_BYTES]
        text = b"".join([b"%c" % byte if byte in _PLAIN else b"%%%02X" % byte for byte in shown])
        fields.append((b"grpc-message", text))
    return fields


class MessageCounter:
    """Counts the messages of one direction by their five-byte prefixes; what does not fit the framing counts as it
    may, since it is the application's to refuse."""

    __slots__ = ("_left", "_prefix", "count")

    def __init__(self) -> None:
        self.count = 0
        """Messages that have begun with a whole prefix."""
        self._prefix = b""
        self._left = 0
        """Bytes of the present message that are still to come."""

    def feed(self, data: bytes) -> None:
        """A piece of the body, however it was cut."""
        if self._prefix:
            data = self._prefix + data
            self._prefix = b""
        at = self._left
        end = len(data)
        while at + _PREFIX_BYTES <= end:
            self.count += 1
            at += _PREFIX_BYTES + int.from_bytes(data[at + 1 : at + _PREFIX_BYTES], "big")
        if at < end:
            self._prefix = data[at:]
            self._left = 0
        else:
            self._left = at - end
