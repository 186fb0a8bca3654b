"""The answer to one request, an upstream's or our own: framed for the client, written, recorded exactly once."""

from typing import TYPE_CHECKING

from sidecar.filters.chain import LocalReply
from sidecar.filters.router import Router
from sidecar.http.h1_render import LAST_CHUNK, chunk, informational_head, response_head
from sidecar.http.head import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead
from sidecar.listeners import local_reply
from sidecar.listeners.date import http_date
from sidecar.listeners.routes import BoundRoute
from sidecar.telemetry.record import RequestRecord

if TYPE_CHECKING:
    from sidecar.listeners.connection import DownstreamConnection


class Answer:
    """The half of an exchange that faces the client. `_close`: the connection ends with it."""

    __slots__ = (
        "_answered",
        "_bodyless",
        "_chunked",
        "_close",
        "_connection",
        "_out",
        "_over",
        "_router",
        "activity",
        "head",
        "record",
        "request_whole",
        "route",
    )

    def __init__(self, connection: "DownstreamConnection", head: RequestHead, now: float) -> None:
        self._connection = connection
        self.head = head
        self.request_whole = False
        self.record = RequestRecord(connection.binding, now, head.method, head.target, head.authority, head.version)
        self.route: BoundRoute | None = None
        self.activity = now
        """When anything of the request or answer moved last; monotonic seconds."""
        self._router: Router | None = None
        self._out: list[bytes] = []
        self._answered = False
        self._bodyless = False
        self._chunked = False
        self._close = head.close
        self._over = False

    def informed(self, head: ResponseHead) -> None:
        if self.head.version == "HTTP/1.1":
            self._out.append(informational_head(head.status, head.headers))

    def _send_head(self, head: ResponseHead, more: bytes) -> None:
        context = self._connection.context
        route = self.route
        if route is not None and route.chain:
            route.chain.response(self, head)
        self.record.status = status = head.status
        headers = head.headers
        if not head.dated:
            headers.append((b"date", http_date(context.process.clock.now())))
        length = head.length
        if self.head.method == b"HEAD" or status == 204 or status == 304:
            self._bodyless = True
        elif length < 0:
            if self.head.version == "HTTP/1.1":
                self._chunked = True
                length = CHUNKED
            else:
                length = UNTIL_CLOSE
                self._close = True
        if context.draining or not self.request_whole:
            self._close = True
        self._answered = True
        self._out.append(response_head(status, headers, length, self._close, more))

    def answer_data(self, data: bytes) -> None:
        if self._bodyless:
            return
        self.record.bytes_sent += len(data)
        self._out.append(chunk(data) if self._chunked else data)

    def answer_ended(self) -> None:
        if self._chunked:
            self._out.append(LAST_CHUNK)
        self._finish()

    def flush(self) -> None:
        out = self._out
        if out:
            self.activity = self._connection.context.process.clock.monotonic()
            self._out = []
            self._connection.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def refuse(self, reply: LocalReply) -> None:
        """Answer instead of an upstream."""
        self._reply(reply, edits=False)

    def _reply(self, reply: LocalReply, *, edits: bool) -> None:
        record = self.record
        if reply.flag:
            record.add_flag(reply.flag)
        record.details = reply.details
        head, body = local_reply.render(reply)
        if edits and self.route is not None and self.route.edits.response is not None:
            self.route.edits.response.apply(head.headers)
        if not self.request_whole:
            self._close = True
        self._send_head(head, self._connection.context.server_line)
        if body:
            self.answer_data(body)
        self.answer_ended()

    def _finish(self) -> None:
        """The answer is whole: write it, record it, make room for the next."""
        self._over = True
        self._router = None  # it refers to us: a cycle would wait for the garbage collector
        out = self._out
        connection = self._connection
        connection.transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._out = []
        process = connection.context.process
        now = process.clock.monotonic()
        process.telemetry.finish(self.record, now)
        connection.exchange_over(now, not self._close and self.request_whole)

    def _cut(self, flag: str, details: str) -> None:
        """End the connection in the middle of the answer, so that it can not pass for a whole one."""
        if self._over:
            return
        self._over = True
        record = self.record
        record.add_flag(flag)
        record.details = details
        self._let_go()
        connection = self._connection
        process = connection.context.process
        now = process.clock.monotonic()
        process.telemetry.finish(record, now)
        if self._out and not connection.transport.is_closing():
            connection.transport.write(b"".join(self._out))
        connection.abort()
        connection.exchange_over(now, False)

    def client_gone(self) -> None:
        """The connection is lost."""
        if self._over:
            return
        self._over = True
        self._let_go()
        record = self.record
        record.add_flag("DC")
        record.details = "downstream_remote_disconnect"
        connection = self._connection
        connection.context.in_flight -= 1
        process = connection.context.process
        process.telemetry.finish(record, process.clock.monotonic())

    def client_broke(self, reply: LocalReply) -> None:
        """The client sent something that is no body."""
        self._let_go()
        if self._answered:
            self._cut("DPE", reply.details)
        else:
            self.refuse(reply)

    def _let_go(self) -> None:
        """Give up what goes on upstream."""
        router = self._router
        if router is not None:
            self._router = None
            router.cancel()
