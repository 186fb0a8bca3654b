"""Which requests are tapped, and what is then known of one: what `remora tap` asks for and gets."""

from dataclasses import dataclass

from sidecar.config.listener import Direction

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Of one body; nobody may ask for more."""


@dataclass(frozen=True, slots=True)
class TapFilter:
    """Conditions on a request and its answer; all must hold. What is not given matches everything."""

    path: str = ""
    """Of the path without its query: a prefix, or with `*`, `?` or `[` a glob for the whole of it."""
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str | None], ...] = ()
    """(name in lower case, glob of a value); None: the field is there."""
    statuses: tuple[tuple[int, int], ...] = ()
    """Ranges of the answer's status, both ends included. 0 is a client that left before any answer."""
    direction: Direction | None = None
    sample_percent: float = 100.0
    """Drawn for each request that meets the other conditions on requests."""
    max_body_bytes: int = 64 * 1024
    """Of each body; what is beyond is counted and cut."""


@dataclass(frozen=True, slots=True)
class TappedMessage:
    """A request as the client sent it, or the answer as the client gets it; framing fields as they were declared."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    """Its beginning, at most `max_body_bytes`."""
    body_bytes: int
    """Of the whole body, as far as it came."""
    whole: bool
    """It ended as it should."""
    began: float
    """Seconds since the Unix epoch: when its head was there."""
    ended: float
    """When its last byte was there, or when it was given up."""
    trailers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class TapRecord:
    """One request that is over."""

    direction: Direction
    method: bytes
    scheme: bytes
    authority: bytes
    target: bytes
    """Path and query as the client sent them."""
    version: str
    """As the client spoke it: "HTTP/1.1"."""
    request: TappedMessage
    status: int
    """0: the client was gone before any answer."""
    answer: TappedMessage | None
    """None: there was none."""
    flags: str
    """Envoy's response flags, joined by commas."""
    details: str
    failure: str | None
    """Upstream transport failure reason."""
    client: str
    """`host:port` of the client."""
    peer: str | None
    """The SPIFFE URI that it proved."""
    upstream: str | None
    """`host:port` of the endpoint that answered or was tried last."""
    upstream_s: float | None
    """From the request's last byte sent to the answer's head received."""
    cluster: str | None
    route: str | None
    attempts: int
    request_id: bytes
    trace_id: bytes
