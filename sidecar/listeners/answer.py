"""The answer to one request, an upstream's or our own: handed to the client's stream, recorded exactly once."""

from sidecar.filters.chain import LocalReply
from sidecar.filters.client import Client
from sidecar.filters.router import Router
from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.listeners.client_stream import NO_SERVICE_TIME, ClientStream
from sidecar.listeners.date import http_date
from sidecar.listeners.routes import BoundRoute
from sidecar.telemetry.record import RequestRecord


class Answer(Client):
    """The half of an exchange that faces the client."""

    __slots__ = (
        "_answered",
        "_over",
        "_router",
        "_stream",
        "_trailers",
        "activity",
        "bodyless",
        "request_whole",
        "route",
    )

    def __init__(self, stream: ClientStream, head: RequestHead, now: float) -> None:
        self._stream = stream
        self.head = head
        self.request_whole = False
        self.bodyless = False
        """The answer has no body, whatever its head declares: its status or the request's method says so."""
        self.record = RequestRecord(stream.binding, now, head.method, head.target, head.authority, head.version)
        self.route: BoundRoute | None = None
        self.activity = now
        """When anything of the request or answer moved last; monotonic seconds."""
        self._router: Router | None = None
        self._trailers: list[Header] | None = None
        self._answered = False
        self._over = False

    @property
    def is_over(self) -> bool:
        return self._over

    def informed(self, head: ResponseHead) -> None:
        if self.head.version != "HTTP/1.0":
            self._stream.send_informational(head)

    def _send_head(self, head: ResponseHead, upstream_ms: float) -> None:
        stream = self._stream
        route = self.route
        if route is not None and route.chain:
            route.chain.response(self, head)
        self.record.status = status = head.status
        if not head.dated:
            head.headers.append((b"date", http_date(stream.context.process.clock.now())))
        if self.head.method == b"HEAD" or status == 204 or status == 304:
            self.bodyless = True
        self._answered = True
        stream.send_head(self, head, upstream_ms)

    def answer_data(self, data: bytes) -> None:
        if self.bodyless:
            return
        self.record.bytes_sent += len(data)
        self._stream.send_data(data)

    def answer_trailers(self, trailers: list[Header]) -> None:
        self._trailers = trailers

    def answer_shut(self) -> None:
        self._stream.shut()

    def answer_ended(self) -> None:
        """The answer is whole: write it, record it, make room for the next."""
        self._over = True
        self._router = None  # it refers to us: a cycle would wait for the garbage collector
        stream = self._stream
        stream.send_end(self._trailers)
        process = stream.context.process
        now = process.clock.monotonic()
        process.telemetry.finish(self.record, now)
        stream.over(now)

    def flush(self) -> None:
        stream = self._stream
        if stream.flush():
            self.activity = stream.context.process.clock.monotonic()

    def refuse(self, reply: LocalReply) -> None:
        """Answer instead of an upstream."""
        self._reply(reply, edits=False)

    def _reply(self, reply: LocalReply, *, edits: bool) -> None:
        record = self.record
        if reply.flag:
            record.add_flag(reply.flag)
        record.details = reply.details
        stream = self._stream
        head, body = stream.render_reply(reply)
        if edits and self.route is not None and self.route.edits.response is not None:
            self.route.edits.response.apply(head.headers)
        self._send_head(head, NO_SERVICE_TIME)
        if body:
            self.answer_data(body)
        self.answer_ended()

    def _cut(self, flag: str, details: str) -> None:
        """End the answer in the middle, so that it can not pass for a whole one."""
        if self._over:
            return
        self._over = True
        record = self.record
        record.add_flag(flag)
        record.details = details
        self._let_go()
        stream = self._stream
        stream.cut()
        process = stream.context.process
        now = process.clock.monotonic()
        process.telemetry.finish(record, now)
        stream.over(now)

    def client_gone(self, flag: str, details: str) -> None:
        """The connection or stream is lost: DC, or DPE where the client broke the protocol."""
        if self._over:
            return
        self._over = True
        self._let_go()
        record = self.record
        record.add_flag(flag)
        record.details = details
        context = self._stream.context
        context.in_flight -= 1
        process = context.process
        process.telemetry.finish(record, process.clock.monotonic())

    def client_broke(self, reply: LocalReply) -> None:
        """The client sent something that is no body."""
        self._let_go()
        if self._answered:
            self._cut("DPE", reply.details)
        else:
            self.refuse(reply)

    def stop(self, reply: LocalReply) -> None:
        """Answer so, whatever goes on upstream."""
        if not self._over:
            self._let_go()
            self.refuse(reply)

    def _let_go(self) -> None:
        """Give up what goes on upstream."""
        router = self._router
        if router is not None:
            self._router = None
            router.cancel()
