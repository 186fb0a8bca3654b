"""A request on its way through its route's filters: each may let it pass, answer, change it, or make it wait."""

import logging
from collections.abc import Awaitable, Callable

from sidecar.filters.chain import Delay, LocalReply, NeedBody, Paused
from sidecar.filters.client import Client
from sidecar.filters.router import Router
from sidecar.http.head import RequestHead, ResponseHead
from sidecar.listeners import local_reply
from sidecar.listeners.answer import Answer
from sidecar.listeners.client_stream import ClientStream

log = logging.getLogger(__name__)


class Filtering(Answer):
    """The half of an exchange that faces the filters. What follows them is `_go`."""

    __slots__ = ("_data", "_front", "_need", "_paused")

    def __init__(self, stream: ClientStream, head: RequestHead, now: float) -> None:
        super().__init__(stream, head, now)
        self._data: list[bytes] = []
        self._paused = False
        self._need: Paused | None = None
        """The filter that waits for the body."""
        self._front: Client | None = None
        """What filters have put before us, for the router to answer to."""

    def _go(self, now: float) -> None:
        """No filter objects: forward the request, or answer as the route says."""
        raise NotImplementedError

    def _to_router(self, router: Router, data: bytes) -> None:
        """Hand on a piece of the body."""
        raise NotImplementedError

    def _end_to_router(self, now: float) -> None:
        """Say that the request is whole."""
        raise NotImplementedError

    def flush_request(self) -> None:
        """Write to the upstream, once for all that came."""
        raise NotImplementedError

    def _filter(self, at: int, now: float) -> None:
        route = self.route
        assert route is not None
        verdict = route.chain.request(self, at)
        if isinstance(verdict, LocalReply):
            self.refuse(verdict)
        elif isinstance(verdict, Paused):
            self._pause(verdict)
        else:
            self._go(now)

    def _pause(self, paused: Paused) -> None:
        """Wait for the filter; what arrives of the body meanwhile waits here, and the client if it is much."""
        self._paused = True
        verdict = paused.verdict
        if isinstance(verdict, NeedBody):
            self._need = paused
            self._gathered(verdict)
            if self._waits_for_body():
                self._ask_for_body()
            return
        self._stream.hold_client(True)
        process = self._stream.context.process
        if isinstance(verdict, Delay):
            process.loop.call_later(verdict.seconds, self._resume, paused.at, verdict.then)
        else:
            process.scope.spawn(self._await(verdict, paused.at), name="filter")

    def _waits_for_body(self) -> bool:
        """A call, since a type checker, and with it the compiled build, would hold the attribute for what was put there
        last, whatever has been called since."""
        return self._need is not None

    def _ask_for_body(self) -> None:
        """The upstream, whose part it is to say 100, does not know of the request yet."""
        headers = self.head.headers
        if any(name == b"expect" for name, _ in headers):
            headers[:] = [header for header in headers if header[0] != b"expect"]
            self._stream.send_informational(ResponseHead(100, []))
            self._stream.flush()

    def _gathered(self, need: NeedBody) -> None:
        """See whether the filter has what it waits for."""
        paused = self._need
        fits = self.record.bytes_received <= need.limit
        if paused is None or (fits and not self.request_whole):
            return
        self._need = None
        verdict = need.then(b"".join(self._data) if fits else None)
        if verdict is None or isinstance(verdict, LocalReply):
            self._resume(paused.at, verdict)
        else:
            if not self.request_whole:  # else we go on reading: it is how a client's leaving is noticed
                self._stream.hold_client(True)
            self._stream.context.process.scope.spawn(self._await(verdict, paused.at), name="filter")

    async def _await(self, verdict: Awaitable[LocalReply | None], at: int) -> None:
        reply: LocalReply | None
        try:
            reply = await verdict
        except Exception:
            log.exception("a filter failed")
            reply = local_reply.INTERNAL
        self._resume(at, reply)

    def _resume(self, at: int, reply: LocalReply | None) -> None:
        if self._over:
            return
        self._paused = False
        stream = self._stream
        now = stream.context.process.clock.monotonic()
        stream.hold_client(False)
        if reply is not None:
            self.refuse(reply)
            return
        self._filter(at, now)
        router = self._router
        if router is None:
            return  # another filter waits, or the answer was ours
        held, self._data = self._data, []
        for data in held:
            self._to_router(router, data)
        if self.request_whole and not router.request_whole:
            self._end_to_router(now)
        self.flush_request()

    # what filters may do

    def replace_body(self, body: bytes) -> None:
        self._data = [body] if body else []
        self.head.length = len(body)

    def intercept(self, make: Callable[[Client], Client]) -> None:
        self._front = make(self if self._front is None else self._front)

    def hold_upstream(self, held: bool) -> None:
        if self._router is not None:
            self._router.hold_upstream(held)
