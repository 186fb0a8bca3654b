"""What became of bytes: which answers came, what the upstream was sent, how the connection fared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Of one case at one proxy."""

    answers: tuple[str, ...]
    """The client's answers in order: `200`, and for an answer out of the upstream's bytes `200 body`."""
    forwarded: tuple[str, ...]
    """The requests that reached the upstream whole: `GET host/target {fields} body +{trailers}`."""
    connection: str
    """The client's: kept, closed, cut (reset, or ended inside an answer), waits (for more of the request)."""

    @property
    def refused(self) -> bool:
        """Nothing went upstream, and the client can not have taken it for success."""
        return not self.forwarded

    def __str__(self) -> str:
        answers = ", ".join(self.answers) or "no answer"
        forwarded = "".join(f"; → {request}" for request in self.forwarded)
        return f"{answers}, {self.connection}{forwarded}"


@dataclass
class Message:
    """A message as it came over the wire."""

    start: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    whole: bool = True

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


# What proxies add; whether they add the same is tested elsewhere.
_PROXYS = (b"x-envoy-", b"x-forwarded-", b"x-request-id", b"traceparent", b"content-length", b"transfer-encoding")


def describe(request: Message) -> str:
    """A forwarded request on one line, without what the proxy itself says."""
    method, target, _ = request.start.split(b" ", 2)
    fields = [
        name.lower() + b": " + value
        for name, value in request.headers
        if name.lower() != b"host" and not name.lower().startswith(_PROXYS)
    ]
    text = method + b" " + (request.get(b"host") or b"-") + (b"" if method == b"CONNECT" else target)
    if fields:
        text += b" {" + b"; ".join(sorted(fields)) + b"}"
    if request.body:
        text += b" " + (request.body if len(request.body) < 40 else b"%d bytes" % len(request.body))
    if request.trailers:
        text += b" +{" + b"; ".join(name.lower() + b": " + value for name, value in request.trailers) + b"}"
    return text.decode("latin-1")
