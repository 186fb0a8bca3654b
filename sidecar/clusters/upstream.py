"""One request's way to an endpoint, whatever protocol carries it, and what it asks of its holder.

Plain classes with methods to override rather than Protocols: compiled, a call through them is no look-up by name.
"""

import ssl
from typing import TYPE_CHECKING, Final

from sidecar.clusters.losses import Loss
from sidecar.http.errors import ProtocolError
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import End, Header, RequestHead, ResponseHead, Trailers
from sidecar.net.outbox import Outbox

if TYPE_CHECKING:
    from sidecar.clusters.h1_upstream import UpstreamConnection

HIGH_WATER_BYTES: Final = 64 * 1024
"""More than this unsent pauses the client's side; a quarter of it resumes."""

AnswerEvent = ResponseHead | bytes | Trailers | End | ProtocolError
"""What an upstream's answer consists of; the last is End or ProtocolError."""


class ConnectFailed(Exception):
    """No connection: nothing of the request was sent. `reason` is Envoy's transport failure reason, one line."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out


class Holder:
    """A request that waits for a stream or has one."""

    __slots__ = ()

    def connected(self, stream: "UpstreamStream") -> None:
        """The stream is the holder's."""
        raise NotImplementedError

    def connect_failed(self, error: ConnectFailed) -> None:
        """There will be none."""
        raise NotImplementedError

    def upstream_events(self, events: list[AnswerEvent]) -> None:
        """What arrived, in order."""
        raise NotImplementedError

    def upstream_lost(self, loss: Loss) -> None:
        """There is no more of the answer to come; the stream is not this request's any more."""
        raise NotImplementedError

    def upstream_blocked(self, blocked: bool) -> None:
        """The upstream reads slower than we write, or reads again."""
        raise NotImplementedError


class UpstreamStream:
    """Carries one request and its answer: an HTTP/1.1 connection for that while, or a stream of an HTTP/2 one.

    `begin`, then `send_data` and `send_end`, which gather until `flush`; at the end `finished` or `discard`.
    """

    __slots__ = ()

    def begin(self, holder: Holder, head: RequestHead, more: FieldLines, whole: bool) -> None:
        """Send the head, with the fields `more` at its end. `whole`: nothing follows, no `send_end` and no `flush`."""
        raise NotImplementedError

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        raise NotImplementedError

    def send_end(self, trailers: list[Header] | None) -> None:
        """The request is whole."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what has gathered."""
        raise NotImplementedError

    def hold(self, held: bool) -> None:
        """Stop or resume reading the answer."""
        raise NotImplementedError

    def heed(self, head: ResponseHead) -> None:
        """The answer's head says how long the connection lasts."""

    def switch(self) -> None:
        """The answer was a switch of protocols: bytes pass both ways, `send_end` closes one."""
        raise NotImplementedError

    def finished(self, whole: bool) -> None:
        """The answer is whole, and so is the request if `whole`: whoever owns the stream has it back."""
        raise NotImplementedError

    def discard(self) -> None:
        """Give the request up in the middle of things. Nothing is called back any more."""
        raise NotImplementedError


class Owner:
    """The pool, as its connections see it that carry one request at a time."""

    __slots__ = ("buffer_bytes", "outbox")

    outbox: Outbox
    """Where connections gather what they write."""
    buffer_bytes: int
    """More than this of a request unsent pauses its client."""

    def verify(self, tls: ssl.SSLObject) -> None:
        """Raises PeerRefused when the certificate is not the endpoint's."""
        raise NotImplementedError

    def freed(self, connection: "UpstreamConnection") -> None:
        """The connection can take another request."""
        raise NotImplementedError

    def watch(self, connection: "UpstreamConnection", now: float, since: float) -> None:
        """It was used since the wheel looked last: count its idle time from `since`."""
        raise NotImplementedError

    def rewatch(self, connection: "UpstreamConnection", now: float) -> None:
        """It was not: look again at its deadline."""
        raise NotImplementedError

    def gone(self, connection: "UpstreamConnection") -> None:
        """The connection is closed, or about to be."""
        raise NotImplementedError

    def lost(self, connection: object) -> None:
        """The same of a connection that carries a tunnel."""
        raise NotImplementedError
