"""The head of a request and of a response, as the codecs produce them and everything else reads them."""

Header = tuple[bytes, bytes]
"""(name in lower case, value without surrounding white space)."""

CHUNKED = -1
"""As a head's `length`: the body's size is not known before its end."""

UNTIL_CLOSE = -2
"""As a response's `length`: the body ends with the connection."""


class RequestHead:
    """One request's line and fields. Codecs have refused what is malformed; `authority` is decided, Host is gone.

    Fields of the hop (Connection and what it names, Transfer-Encoding, Content-Length, ...) are not in `headers`:
    `length` and `close` say what they said. Fields that the proxy has a say in come apart, in `ours`.
    """

    __slots__ = (
        "authority",
        "close",
        "grpc",
        "headers",
        "length",
        "method",
        "ours",
        "scheme",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        headers: list[Header],
        scheme: bytes = b"http",
        version: str = "HTTP/1.1",
        length: int = 0,
        close: bool = False,
        ours: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        """Origin-form: path and query; absolute-form has been split into scheme, authority and this. CONNECT: empty."""
        self.authority = authority
        """Host and port as the client wrote them, in lower case."""
        self.headers = headers
        self.scheme = scheme
        self.version = version
        self.length = length
        """Body bytes, 0 for none, or CHUNKED."""
        self.close = close
        """The client wants the connection to end with this request's answer."""
        self.ours: dict[bytes, bytes] = {} if ours is None else ours
        """Fields of `http.fields.OURS` as received, repeated ones joined by commas; not in `headers` before the
        listener has decided what of them is believed. And `te`, where it says that trailers are read."""
        self.upgrade: bytes | None = None
        """The protocol that the client wants to switch to, in lower case: `websocket`, `connect` for CONNECT."""
        self.grpc = False
        """A call of gRPC: by its content type, over HTTP/2."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def values(self, name: bytes) -> list[bytes]:
        """Every value of `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.authority!r} {self.target!r} {len(self.headers)} headers>"


class ResponseHead:
    """One response's status and fields, without the hop's own."""

    __slots__ = ("close", "dated", "headers", "keep_alive_s", "length", "status", "upgrade", "version")

    def __init__(
        self,
        status: int,
        headers: list[Header],
        version: str = "HTTP/1.1",
        length: int = 0,
        close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.version = version
        self.length = length
        """Body bytes as declared (a HEAD's answer declares them without sending them), CHUNKED or UNTIL_CLOSE."""
        self.close = close
        """The upstream ends the connection after this."""
        self.dated = False
        """`headers` has a Date."""
        self.keep_alive_s: float | None = None
        """`Keep-Alive: timeout`: how long the upstream keeps an idle connection open."""
        self.upgrade: bytes | None = None
        """Of a 101: the protocol that the upstream has switched to, in lower case. `connect` where a CONNECT was
        granted, whatever the status of 2xx: bytes pass from then on."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {len(self.headers)} headers>"


class Trailers:
    """The fields behind a body, directly before End. Only what may be there: see `http.fields.trailing`."""

    __slots__ = ("headers",)

    def __init__(self, headers: list[Header]) -> None:
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Trailers {len(self.headers)} headers>"


class End:
    """A message is whole."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<End>"


END = End()
