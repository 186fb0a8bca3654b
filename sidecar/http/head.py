"""The head of a request and of a response, as the codecs produce them and everything else reads them."""

Header = tuple[bytes, bytes]
"""(name in lower case, value without surrounding white space)."""


class RequestHead:
    """One request's line and fields. Codecs have refused what is malformed; `authority` is decided, Host is gone."""

    __slots__ = ("authority", "headers", "method", "scheme", "target", "version")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        headers: list[Header],
        scheme: bytes = b"http",
        version: str = "HTTP/1.1",
    ) -> None:
        self.method = method
        self.target = target
        """Origin-form: path and query. Absolute-form has been split into scheme, authority and this."""
        self.authority = authority
        """Host and port as the client wrote them, in lower case."""
        self.headers = headers
        self.scheme = scheme
        self.version = version

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
    """One response's status and fields."""

    __slots__ = ("headers", "status", "version")

    def __init__(self, status: int, headers: list[Header], version: str = "HTTP/1.1") -> None:
        self.status = status
        self.headers = headers
        self.version = version

    def get(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {len(self.headers)} headers>"
