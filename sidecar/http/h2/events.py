"""What `H2Connection.receive` returns. Plain slotted classes: two or three are made per request."""

from typing import Final

from sidecar.http.head import CHUNKED, Header

HEAD: Final = 0
"""`Headers.kind`: a request's head, or the head of a final response."""

INFORMATIONAL: Final = 1
"""`Headers.kind`: a 1xx head; another follows."""

TRAILERS: Final = 2
"""`Headers.kind`: fields behind the body; `end` is always set."""


class Event:
    """One thing that came. `stream` is 0 where the connection is meant."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream


class Headers(Event):
    """A head or trailers, checked: what is malformed never gets here."""

    __slots__ = (
        "authority",
        "end",
        "fields",
        "kind",
        "length",
        "method",
        "never_indexed",
        "path",
        "protocol",
        "scheme",
        "skip",
        "status",
    )

    def __init__(self, stream: int, fields: list[Header], end: bool, kind: int) -> None:
        self.stream = stream
        self.fields = fields
        """As they came, pseudo-headers first; `cookie` may come in crumbs (`fields.joined_cookies`)."""
        self.end = end
        """The message is whole: no body, no trailers."""
        self.kind = kind
        self.skip = 0
        """How many of `fields` are pseudo-headers."""
        self.method = b""
        self.scheme = b""
        """In lower case; b"" for a plain CONNECT."""
        self.authority = b""
        """`:authority`, else Host, as written; b"" if there was neither. Not checked for being a host name."""
        self.path = b""
        """b"" for a plain CONNECT; else begins with a slash, or is * (OPTIONS alone)."""
        self.protocol = b""
        """Of an extended CONNECT (RFC 8441)."""
        self.status = 0
        self.length = 0 if end else CHUNKED
        """Body octets as declared (a HEAD's answer declares them without sending them), 0 for none, or CHUNKED."""
        self.never_indexed: list[bytes] | None = None
        """Names to hand to `send_headers` and `open_stream`: who sent them asks that no table holds their values."""

    def __repr__(self) -> str:
        what = ("head", "informational", "trailers")[self.kind]
        return f"<Headers {self.stream} {what} {len(self.fields)} fields{' end' if self.end else ''}>"


class Data(Event):
    """A piece of a body, possibly empty if `end`."""

    __slots__ = ("data", "end", "flow")

    def __init__(self, stream: int, data: bytes, flow: int, end: bool) -> None:
        self.stream = stream
        self.data = data
        self.flow = flow
        """Octets to report by `consumed`: the data's and the padding's."""
        self.end = end

    def __repr__(self) -> str:
        return f"<Data {self.stream} {len(self.data)} octets{' end' if self.end else ''}>"


class Reset(Event):
    """A stream that had been reported is over, at once and both ways; what was queued for it is gone.

    For clients, REFUSED_STREAM says that nothing was processed: the peer said so, or a GOAWAY left the stream out. A
    server's NO_ERROR after the whole response means only that it wants no more of the request.
    """

    __slots__ = ("code", "details", "local")

    def __init__(self, stream: int, code: int, details: str, local: bool) -> None:
        self.stream = stream
        self.code = code
        """An ErrorCode, or what else the peer sent."""
        self.details = details
        """What the peer did wrong if `local`, else ""."""
        self.local = local
        """The codec reset it, since the peer broke a rule of the stream."""

    def __repr__(self) -> str:
        return f"<Reset {self.stream} {self.code} {'by us: ' + self.details if self.local else 'by the peer'}>"


class Refused(Event):
    """Servers: a request that the codec has answered by itself; nothing else is reported of it. For the record."""

    __slots__ = ("code", "details", "status")

    def __init__(self, stream: int, code: int, details: str, status: int) -> None:
        self.stream = stream
        self.code = code
        """Of the RST_STREAM that was sent."""
        self.details = details
        self.status = status
        """431 if that was sent before, else 0."""

    def __repr__(self) -> str:
        return f"<Refused {self.stream} {self.code} {self.details}>"


class Writable(Event):
    """What `send_data` had to queue for this stream has drained below the low-water mark."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Writable {self.stream}>"


class GoneAway(Event):
    """The peer accepts no stream beyond `last_stream`. Clients: those beyond follow as Reset REFUSED_STREAM."""

    __slots__ = ("code", "debug", "last_stream")

    def __init__(self, last_stream: int, code: int, debug: bytes) -> None:
        self.stream = 0
        self.last_stream = last_stream
        self.code = code
        self.debug = debug
        """At most 256 octets of what the peer had to say; hostile text."""

    def __repr__(self) -> str:
        return f"<GoneAway last {self.last_stream} code {self.code}>"


class SettingsChanged(Event):
    """The peer's SETTINGS have been applied and acknowledged: limits may have moved either way."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<SettingsChanged>"


class PingAnswered(Event):
    """The answer to our `ping` of these eight octets."""

    __slots__ = ("opaque",)

    def __init__(self, opaque: bytes) -> None:
        self.stream = 0
        self.opaque = opaque

    def __repr__(self) -> str:
        return "<PingAnswered>"


class ConnectionFailed(Event):
    """The peer broke the connection's rules. The last event; GOAWAY is in the output, every stream is over."""

    __slots__ = ("code", "details")

    def __init__(self, code: int, details: str) -> None:
        self.stream = 0
        self.code = code
        self.details = details

    def __repr__(self) -> str:
        return f"<ConnectionFailed {self.code} {self.details}>"
