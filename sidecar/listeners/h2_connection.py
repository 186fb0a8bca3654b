"""A client's HTTP/2 connection: one exchange per stream. The codec keeps the protocol's rules; here its events
become exchanges."""

from sidecar.filters.chain import LocalReply
from sidecar.http import grpc
from sidecar.http.errors import ProtocolError
from sidecar.http.fields import trailing
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import (
    TRAILERS,
    ConnectionFailed,
    Data,
    Event,
    GoneAway,
    Headers,
    PingAnswered,
    Refused,
    Reset,
    Writable,
)
from sidecar.http.h2_messages import request_of
from sidecar.http.head import RequestHead
from sidecar.listeners import local_reply
from sidecar.listeners.exchange import Exchange
from sidecar.listeners.grpc_stream import GrpcClientStream
from sidecar.listeners.h2_link import GOODBYE, H2Link, details_of
from sidecar.listeners.h2_stream import H2ClientStream
from sidecar.listeners.limits import refused
from sidecar.listeners.tapped import begin_tapped
from sidecar.listeners.tunnel_stream import TunnelStream
from sidecar.net.timers import NEVER
from sidecar.net.turns import TURN_BYTES, TURN_S


class H2ClientConnection(H2Link):
    """The loop's Protocol by its methods.

    It takes the place of the connection on which it was found out that HTTP/2 is spoken.
    """

    __slots__ = ()

    # the transport's side

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        began = self.context.process.clock.monotonic() if len(data) >= TURN_BYTES else NEVER
        self._receiving = True
        touched: list[H2ClientStream] = []
        try:
            for event in self.codec.receive(data):
                self._take(event, touched)
        finally:
            self._receiving = False
        for stream in touched:
            if stream.exchange is not None:
                stream.exchange.flush_request()
            stream.took()
        self._write()
        if self.codec.mid_head != (self._head_deadline < NEVER):
            self._head_began_or_ended()
        if began < NEVER and self.context.process.clock.monotonic() - began > TURN_S:
            self._give_turn()

    def _give_turn(self) -> None:
        if not self._closing:
            self.transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._closing and not self.transport.is_closing():
            self.transport.resume_reading()

    def _take(self, event: Event, touched: list[H2ClientStream]) -> None:
        if isinstance(event, Headers):
            if event.kind == TRAILERS:
                stream = self._streams.get(event.stream)
                if stream is not None and stream.exchange is not None:
                    stream.exchange.request_ended(trailing(event.fields))
                    touched.append(stream)
            else:
                self._begin(event)
        elif isinstance(event, Data):
            self._take_data(event, touched)
        elif isinstance(event, Reset):
            self._lose(event)
        elif isinstance(event, Writable):
            stream = self._streams.get(event.stream)
            if stream is not None:
                stream.writable()
        elif isinstance(event, Refused):
            self._record_refusal(event.details, event.status)
        elif isinstance(event, PingAnswered):
            if event.opaque == GOODBYE and self._goodbye_at < NEVER:
                self.say_goodbye()
        elif isinstance(event, GoneAway):
            self._draining = True
            self.close_if_done()
        elif isinstance(event, ConnectionFailed):
            self._broken(event)

    def eof_received(self) -> None:
        """A client that closes its half is gone, as for Envoy: what it asked for is given up."""

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self.deadline = NEVER
        context = self.context
        context.counts.cx_active -= 1
        context.connections.discard(self)
        context.process.open.closed()
        self._give_up("DC", "downstream_remote_disconnect")

    # streams

    def _begin(self, event: Headers) -> None:
        context = self.context
        now = context.process.clock.monotonic()
        context.in_flight += 1
        refused: LocalReply | None = None
        try:
            head = request_of(event)
        except ProtocolError as error:
            head = RequestHead(b"-", b"-", b"-", [], version="HTTP/2")
            refused = local_reply.of_protocol_error(error)
        whole = event.end
        stream: H2ClientStream
        if head.upgrade is not None:
            stream = TunnelStream(self, event.stream, whole)
            whole = True  # what follows is no body
        elif head.grpc:
            stream = GrpcClientStream(self, event.stream)
        else:
            stream = H2ClientStream(self, event.stream)
        self._streams[event.stream] = stream
        watch = context.watch
        exchange = Exchange(stream, head, now) if watch is None else begin_tapped(watch, stream, head, now)
        stream.exchange = exchange
        if refused is not None:
            exchange.request_whole = whole
            exchange.refuse(refused)
            return
        if head.grpc:
            timeout_s = grpc.timeout_s(head.get(b"grpc-timeout") or b"")
            if timeout_s is not None:
                exchange.limit(now + timeout_s)
                self.expect(now + timeout_s, now)
        if context.careful and self._limited(exchange, whole, now):
            return
        exchange.start(whole, now)

    def _limited(self, exchange: Exchange, whole: bool, now: float) -> bool:
        """Apply the limits; True: the request was refused by one."""
        if self.context.winding_down:
            self.drain()
        if self._left:
            self._left -= 1
            if not self._left:
                self.context.counts.cx_spent += 1
                self.drain()
        if refused(exchange, self.context, whole, now):
            return True
        self.expect(exchange.deadline(), now)
        return False

    def _take_data(self, event: Data, touched: list[H2ClientStream]) -> None:
        number = event.stream
        stream = self._streams.get(number)
        exchange = stream.exchange if stream is not None else None
        if stream is None or exchange is None:
            # Of a request that was answered before its end.
            self.codec.consumed(number, event.flow)
            self._end_early(number)
            return
        stream.credit += event.flow
        if event.data:
            stream.request_data(event.data)
        if event.end:
            stream.request_ended()
        if not touched or touched[-1] is not stream:
            touched.append(stream)

    def _lose(self, event: Reset) -> None:
        stream = self._streams.pop(event.stream, None)
        self._flushing.pop(event.stream, None)
        if stream is not None and stream.exchange is not None:
            exchange = stream.exchange
            stream.gone()
            stream.exchange = None
            if event.local:
                exchange.client_gone("DPE", details_of(event.details))
            else:
                exchange.client_gone("DC", "http2.remote_reset")
            self._stream_gone(self.context.process.clock.monotonic())

    def stream_over(self, stream: H2ClientStream, now: float) -> None:
        """Its exchange is recorded; the answer may still wait for the client's window."""
        number = stream.id
        exchange = stream.exchange
        stream.exchange = None
        self._streams.pop(number, None)
        if self.codec.is_open(number):
            if stream.credit:
                self.codec.consumed(number, stream.credit)
                stream.credit = 0
            if self.codec.queued(number):
                self._flushing[number] = now + self._patience_s
                self.expect(now + self._patience_s, now)
            elif exchange is not None and not exchange.request_whole:
                self._end_early(number)
        self._stream_gone(now)

    def _end_early(self, number: int) -> None:
        """The answer is whole and the request is not: the client need not send the rest (RFC 9113 8.1)."""
        if self.codec.is_open(number) and not self.codec.queued(number):
            self.codec.reset(number, ErrorCode.NO_ERROR)
            self.write_soon()

    def _stream_gone(self, now: float) -> None:
        self._idle_since = now
        if self._draining:
            self.close_if_done()

    def __repr__(self) -> str:
        state = "closing" if self._closing else "draining" if self._draining else "open"
        return f"<H2ClientConnection {state} {len(self._streams)} streams>"
