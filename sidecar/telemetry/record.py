"""What is known of one request when it is over. The proxy fills it in as it goes; Telemetry reads it once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.telemetry.bindings import Downstream, Target, Upstream
    from sidecar.telemetry.tracing import Trace


class RequestRecord:
    """One request. Mutable and cheap: a dozen assignments, of which most requests change few.

    Times are seconds of the monotonic clock; Telemetry knows what time of day they were.
    """

    __slots__ = (
        "attempts",
        "authority",
        "bytes_received",
        "bytes_sent",
        "details",
        "downstream",
        "failure",
        "finished",
        "flags",
        "forwarded_for",
        "grpc_status",
        "messages",
        "metadata",
        "method",
        "peer_metadata",
        "protocol",
        "request_id",
        "started",
        "status",
        "target",
        "trace",
        "upstream",
        "upstream_s",
        "url",
        "user_agent",
    )

    def __init__(
        self, downstream: "Downstream", started: float, method: bytes, url: bytes, authority: bytes, protocol: str
    ) -> None:
        self.downstream = downstream
        """The connection that it came on."""
        self.started = started
        """When its first byte was read."""
        self.method = method
        self.url = url
        """Path and query as the client sent them."""
        self.authority = authority
        self.protocol = protocol
        """As RequestHead.version: "HTTP/1.1"."""
        self.user_agent: bytes | None = None
        self.forwarded_for: bytes | None = None
        self.request_id: bytes = b""
        self.peer_metadata: bytes | None = None
        """`x-envoy-peer-metadata` as received; believed only on a connection with a proven identity."""
        self.trace: Trace | None = None
        self.target: Target | None = None
        """The route and cluster; None: no route."""
        self.upstream: Upstream | None = None
        """The endpoint that answered, or was tried last."""
        self.status = 0
        """0: the client was gone before any answer."""
        self.flags = ""
        """Envoy's response flags, joined by commas."""
        self.details = "via_upstream"
        self.failure: str | None = None
        """Upstream transport failure reason."""
        self.bytes_received = 0
        """Of the request's body."""
        self.bytes_sent = 0
        """Of the answer's body."""
        self.upstream_s: float | None = None
        """From the request's last byte sent to the answer's head received, seconds."""
        self.attempts = 1
        self.grpc_status: int | None = None
        """None: not gRPC. Of a gRPC request whose answer lacks one: 2, unknown."""
        self.messages: tuple[int, int] | None = None
        """Of gRPC: messages of the request and of the answer that have not been counted while it went on."""
        self.metadata: dict[str, Any] | None = None
        """What filters written in Python noted for each other and for the access log."""
        self.finished = False
        """Telemetry has it: a second finish is an error in the proxy and is counted, not recorded."""

    def add_flag(self, flag: str) -> None:
        """Note a response flag, once."""
        if not self.flags:
            self.flags = flag
        elif flag not in self.flags.split(","):
            self.flags += "," + flag

    def __repr__(self) -> str:
        return f"<RequestRecord {self.method!r} {self.authority!r} {self.url!r} {self.status} {self.flags or '-'}>"
