"""A stream that carries a call of gRPC: its messages are counted, its outcome recorded, our own answers worded for it.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; local replies as Envoy's.
"""

from typing import TYPE_CHECKING

from sidecar.filters import failures
from sidecar.filters.chain import LocalReply
from sidecar.http import grpc
from sidecar.http.head import Header, ResponseHead
from sidecar.listeners.h2_stream import H2ClientStream

if TYPE_CHECKING:
    from sidecar.listeners.answer import Answer
    from sidecar.listeners.h2_link import H2Link


class GrpcClientStream(H2ClientStream):
    """`record.grpc_status` is the trailers' word, or that of a head that is all there is."""

    __slots__ = ("_counted", "_requests", "_responses", "_status")

    def __init__(self, connection: "H2Link", number: int) -> None:
        super().__init__(connection, number)
        self._requests = grpc.MessageCounter()
        self._responses = grpc.MessageCounter()
        self._status = grpc.UNKNOWN
        self._counted = (0, 0)
        """Messages that telemetry has been told of while the call goes on."""

    def report(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        requests, responses = self._requests.count, self._responses.count
        more = (requests - self._counted[0], responses - self._counted[1])
        if (more[0] or more[1]) and self.context.process.telemetry.count_messages(exchange.record, more[0], more[1]):
            self._counted = (requests, responses)

    def request_data(self, data: bytes) -> None:
        self._requests.feed(data)
        super().request_data(data)

    def send_head(self, answer: "Answer", head: ResponseHead, upstream_ms: float) -> None:
        self._status = grpc.read_status(head.headers)
        super().send_head(answer, head, upstream_ms)

    def send_data(self, data: bytes) -> None:
        self._responses.feed(data)
        super().send_data(data)

    def send_end(self, trailers: list[Header] | None) -> None:
        if trailers:
            self._status = grpc.read_status(trailers)
        self._settle(self._status)
        super().send_end(trailers)

    def render_reply(self, reply: LocalReply) -> tuple[ResponseHead, bytes]:
        status = grpc.DEADLINE_EXCEEDED if reply is failures.DEADLINE else grpc.status_of_http(reply.status)
        headers: list[Header] = [(b"content-type", b"application/grpc"), *grpc.outcome(status, reply.body)]
        headers += [header for header in reply.headers if header[0] != b"content-type"]
        return ResponseHead(200, headers), b""

    def cut(self) -> None:
        self._settle(grpc.INTERNAL)  # what clients make of RST_STREAM with INTERNAL_ERROR
        super().cut()

    def gone(self) -> None:
        self._settle(grpc.CANCELLED)

    def _settle(self, status: int) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.record.grpc_status = status
            before = self._counted
            exchange.record.messages = (self._requests.count - before[0], self._responses.count - before[1])
