"""What carries one request and its answer: an HTTP/1.1 connection for that while, or one stream of an HTTP/2 one.

The exchange speaks to nothing else of its client. A plain class with methods to override rather than a Protocol:
compiled, a call through it is no look-up by name.
"""

from typing import TYPE_CHECKING

from sidecar.filters.chain import LocalReply
from sidecar.http.head import Header, ResponseHead
from sidecar.listeners import local_reply
from sidecar.listeners.admission import Admission
from sidecar.listeners.context import HttpContext
from sidecar.telemetry.bindings import Downstream

if TYPE_CHECKING:
    from sidecar.listeners.answer import Answer

NO_SERVICE_TIME = -1.0
"""As `send_head`'s `upstream_ms`: an answer of our own, or one whose head already tells the time."""


class ClientStream:
    """Methods named send gather until `flush`; `send_end` writes by itself."""

    __slots__ = ("admission", "binding", "context", "peer")

    context: HttpContext
    admission: Admission
    binding: Downstream
    """The connection, as telemetry knows it."""
    peer: str | None
    """The SPIFFE URI that the client proved."""

    def send_informational(self, head: ResponseHead) -> None:
        """A 1xx answer."""
        raise NotImplementedError

    def send_head(self, answer: "Answer", head: ResponseHead, upstream_ms: float) -> None:
        """The answer's head. `upstream_ms`: milliseconds that the upstream took, or NO_SERVICE_TIME."""
        raise NotImplementedError

    def send_data(self, data: bytes) -> None:
        """A piece of the answer's body."""
        raise NotImplementedError

    def send_end(self, trailers: list[Header] | None) -> None:
        """The answer is whole."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Write what has gathered; whether there was anything."""
        raise NotImplementedError

    def shut(self) -> None:
        """After a switch of protocols: nothing more goes to the client, but it may still send."""
        raise NotImplementedError

    def render_reply(self, reply: LocalReply) -> tuple[ResponseHead, bytes]:
        """An answer of our own in the client's terms: head and body."""
        return local_reply.render(reply)

    def cut(self) -> None:
        """End the answer in the middle, so that it can not pass for a whole one. `over` follows."""
        raise NotImplementedError

    def over(self, now: float) -> None:
        """The exchange is recorded and done with the stream."""
        raise NotImplementedError

    def hold_client(self, held: bool) -> None:
        """Stop or resume reading the request, for the upstream's sake."""
        raise NotImplementedError

    def deadline_moved(self, deadline: float, now: float) -> None:
        """The exchange's deadline became earlier."""
        raise NotImplementedError
