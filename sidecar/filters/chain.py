"""What a filter is and how a route's filters run: synchronously, until one answers itself or wants to wait."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.telemetry.record import RequestRecord

if TYPE_CHECKING:
    from sidecar.filters.client import Client


class LocalReply:
    """An answer of our own instead of the upstream's: Envoy's status, body, response flag and details."""

    __slots__ = ("body", "details", "flag", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", *, flag: str = "", details: str = "", headers: Sequence[Header] = ()
    ) -> None:
        self.status = status
        self.body = body
        self.flag = flag
        """One of Envoy's response flags, e.g. "FI"; empty for none."""
        self.details = details
        """Response code details, e.g. "fault_filter_abort"."""
        self.headers = tuple(headers)
        """Beyond those that every local reply carries."""

    def __repr__(self) -> str:
        return f"<LocalReply {self.status} {self.flag} {self.details}>"


class Delay:
    """Go on after `seconds`: with the next filter, or with `then`. Whoever runs the chain owns the timer."""

    __slots__ = ("seconds", "then")

    def __init__(self, seconds: float, then: LocalReply | None = None) -> None:
        self.seconds = seconds
        self.then = then


Waiting = LocalReply | Awaitable[LocalReply | None] | None
"""None to go on; a LocalReply to stop; an awaitable to pause, at whose end None means to go on."""


class NeedBody:
    """Go on when the request is whole, or its body longer than `limit` bytes: `then` decides, with the body, or with
    None for a longer one. A negative `limit` waits for nothing. Until then the client is read from."""

    __slots__ = ("limit", "then")

    def __init__(self, limit: int, then: Callable[[bytes | None], Waiting]) -> None:
        self.limit = limit
        self.then = then


Verdict = LocalReply | Delay | NeedBody | Awaitable[LocalReply | None] | None
"""What a request hook returns: Waiting's, or a Delay or NeedBody to pause."""


class Request(Protocol):
    """One request and what is known of it, as filters see it."""

    head: RequestHead
    record: RequestRecord


class Exchange(Request, Protocol):
    """The same on its way upstream, and what filters may do to it there."""

    @property
    def is_over(self) -> bool:
        """The answer has left, or there is nobody to get one: whoever waited for something need not go on."""

    def replace_body(self, body: bytes) -> None:
        """Of a request that is whole and waits in a filter."""

    def intercept(self, make: "Callable[[Client], Client]") -> None:
        """Put something between the router and who gets its answer: `make` is given the latter. Before the router."""

    def stop(self, reply: LocalReply) -> None:
        """Answer so, whatever goes on upstream; no more than once, and before any answer."""

    def hold_upstream(self, held: bool) -> None:
        """Stop or resume reading the answer."""


class Filter(Protocol):
    """Built when a snapshot is applied, shared by all requests of its route: keeps no state of one request."""

    def on_request(self, exchange: Exchange) -> Verdict:
        """Before the request is sent upstream; may change `exchange.head`."""

    def on_response(self, request: Request, head: ResponseHead) -> None:
        """Before the answer is sent downstream, local replies included; may change `head`."""


class Paused:
    """The chain waits for `verdict`, then goes on with `Chain.request(exchange, at)`."""

    __slots__ = ("at", "verdict")

    def __init__(self, verdict: Delay | NeedBody | Awaitable[LocalReply | None], at: int) -> None:
        self.verdict = verdict
        self.at = at


class Chain:
    """A route's filters in order. An empty one is falsy, so that the usual route pays one test."""

    __slots__ = ("_filters", "_reversed")

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self._filters = tuple(filters)
        self._reversed = tuple(reversed(filters))

    def __len__(self) -> int:
        return len(self._filters)

    def request(self, exchange: Exchange, start: int = 0) -> LocalReply | Paused | None:
        """Run the request hooks from `start`. None: all of them let it pass."""
        for at in range(start, len(self._filters)):
            verdict = self._filters[at].on_request(exchange)
            if verdict is None:
                continue
            if isinstance(verdict, LocalReply):
                return verdict
            return Paused(verdict, at + 1)
        return None

    def response(self, request: Request, head: ResponseHead) -> None:
        """Run the response hooks, the last filter's first."""
        for each in self._reversed:
            each.on_response(request, head)
