"""One client's HTTP/1.1 connection: bytes to requests, one at a time, answers in order; who may wait how long."""

import asyncio
import logging
from typing import Any, Final, cast

from sidecar.config.listener import Codec
from sidecar.filters.chain import LocalReply
from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestEvent
from sidecar.http.h2.frames import PREFACE
from sidecar.http.head import END, End, RequestHead, Trailers
from sidecar.listeners import local_reply
from sidecar.listeners.arrival import identify
from sidecar.listeners.exchange import Exchange
from sidecar.listeners.h1_link import TURN, H1Link
from sidecar.listeners.h2_connection import H2ClientConnection
from sidecar.listeners.limits import refused
from sidecar.listeners.tapped import begin_tapped
from sidecar.net.outbox import gathering, ungathered
from sidecar.net.peer import PeerRefused
from sidecar.net.timers import NEVER
from sidecar.net.turns import TURN_BYTES, TURN_S

_BACKLOG: Final = 1

log = logging.getLogger(__name__)


class DownstreamConnection(H1Link):
    """The loop's Protocol by its methods. Where HTTP/2 is spoken another connection takes its place."""

    __slots__ = ()

    # the transport's side

    def connection_made(self, transport: Any) -> None:
        context = self.context
        self.transport = gathering(transport, context.process.outbox)
        transport.set_write_buffer_limits(high=context.config.buffer_bytes)
        context.counts.cx_total += 1
        context.connections.add(self)
        try:
            identify(self, transport, self.destination)
        except PeerRefused as error:
            context.counts.cx_refused += 1
            log.info("client refused: %s", error)
            self._closing = self._special = True
            transport.abort()
            return
        config = context.config
        tls = transport.get_extra_info("ssl_object")
        now = self._idle_since = context.process.clock.monotonic()
        if config.max_connection_duration_s:
            self._last_at = now + config.max_connection_duration_s
        chosen = tls.selected_alpn_protocol() if tls is not None else None
        if config.codec is Codec.HTTP2 or (config.codec is Codec.AUTO and chosen == "h2"):
            self._hand_over(b"")
            return
        if chosen is not None:
            self._special = False
        self._expect(self._due(), now)

    def data_received(self, data: bytes) -> None:
        if self._special:
            data = self._take_special(data)
            if not data:
                return
        began = self.context.process.clock.monotonic() if len(data) >= TURN_BYTES else NEVER
        events = self._reader.receive(data)
        if self._backlog:
            self._backlog.extend(events)
        elif (
            len(events) == 2
            and events[1] is END
            and self.exchange is None
            and not self._blocked
            and isinstance(events[0], RequestHead)
        ):
            # By far the most frequent case: one request without a body.
            self._begin(events[0], True)
        else:
            self._process(events)
        if began < NEVER and not self._closing and self.context.process.clock.monotonic() - began > TURN_S:
            self._hold(TURN, True)
            self.context.process.loop.call_soon(self._hold, TURN, False)

    def _take_special(self, data: bytes) -> bytes:
        """What is left to be read as requests of HTTP/1.1."""
        if self._closing:
            return b""
        if self._lingering:
            self._lingering -= len(data)
            if self._lingering <= 0:
                self.close()
            return b""
        data = self._first + data
        if data.startswith(PREFACE):
            self._hand_over(data)
            return b""
        if PREFACE.startswith(data):
            self._first = data
            self._head_began()
            return b""
        self._first = b""
        self._special = False
        return data

    def _hand_over(self, data: bytes) -> None:
        """HTTP/2 is spoken here, and `data` has come: this connection is another's from now on."""
        context = self.context
        plain = ungathered(self.transport)
        other = H2ClientConnection(self, plain)
        context.connections.discard(self)
        context.connections.add(other)
        self._closing = self._special = True
        self.deadline = NEVER
        plain.set_protocol(cast(asyncio.Protocol, other))
        if context.ends and not context.winding_down:
            other.drain()
        if data:
            other.data_received(data)

    def eof_received(self) -> bool:
        """A client that closes its half is gone, as for Envoy: what it asked for is given up. Not so in a tunnel."""
        exchange = self.exchange
        if exchange is None or not exchange.tunnel:
            return False
        exchange.request_ended(None)
        exchange.flush_request()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = self._special = True
        self.deadline = NEVER
        context = self.context
        context.counts.cx_active -= 1
        context.connections.discard(self)
        context.process.open.closed()
        self._backlog.clear()
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            exchange.client_gone("DC", "downstream_remote_disconnect")

    def pause_writing(self) -> None:
        # The present answer waits, and the next request is not begun: answers must not pile up for a slow reader.
        self._blocked = True
        if self.exchange is not None:
            self.exchange.hold_upstream(True)

    def resume_writing(self) -> None:
        self._blocked = False
        if self.exchange is not None:
            self.exchange.hold_upstream(False)
        elif self._backlog:
            self._process_backlog()

    # requests

    def _process(self, events: list[RequestEvent]) -> None:
        self._processing = True
        try:
            at = 0
            count = len(events)
            while at < count and not self._closing and not self._lingering:
                event = events[at]
                exchange = self.exchange
                if exchange is None:
                    if self._blocked:
                        self._backlog.extend(events[at:])
                        self._hold(_BACKLOG, True)
                        break
                    at += 1
                    if isinstance(event, RequestHead):
                        whole = at < count and events[at].__class__ is End
                        if whole:
                            at += 1
                        self._begin(event, whole)
                    elif isinstance(event, ProtocolError):
                        self._refuse(event)
                elif exchange.request_whole:
                    if exchange.head.upgrade is not None and isinstance(event, ProtocolError):
                        # Too much before the answer: it can neither wait for it nor be a next request.
                        exchange.client_broke(local_reply.of_protocol_error(event))
                        break
                    # The next request waits until this one's answer has gone.
                    self._backlog.extend(events[at:])
                    self._hold(_BACKLOG, True)
                    break
                else:
                    at += 1
                    if event.__class__ is bytes:
                        exchange.request_data(event)
                    elif isinstance(event, End):
                        trailers, self._trailers = self._trailers, None
                        exchange.request_ended(trailers)
                    elif isinstance(event, Trailers):
                        self._trailers = event.headers
                    elif isinstance(event, ProtocolError):
                        exchange.client_broke(local_reply.of_protocol_error(event))
        finally:
            self._processing = False
        exchange = self.exchange
        if exchange is not None:
            exchange.flush_request()
        elif self._backlog and not self._blocked:
            self._process_backlog()  # what followed an upgrade that was refused at once
        elif self._reader.mid_head and self._head_deadline == NEVER and not self._closing:
            self._head_began()

    def _head_began(self) -> None:
        if self._head_deadline == NEVER:
            now = self.context.process.clock.monotonic()
            self._head_deadline = now + self.context.config.request_headers_timeout_s
            self._expect(self._head_deadline, now)

    def _begin(self, head: RequestHead, whole: bool) -> None:
        self._head_deadline = NEVER
        if whole and head.length:
            head.length = 0  # chunked, and the last chunk came along: nobody would write it for the upstream
        context = self.context
        context.in_flight += 1
        now = context.process.clock.monotonic()
        watch = context.watch
        exchange = self.exchange = Exchange(self, head, now) if watch is None else begin_tapped(watch, self, head, now)
        # The wheel looks every few seconds anyway, and a route with a time-out says so itself.
        if context.careful and self._limited(exchange, whole, now):
            return
        exchange.start(whole, now)

    def _limited(self, exchange: Exchange, whole: bool, now: float) -> bool:
        """Apply the limits; True: the request was refused by one."""
        if self._left:
            self._left -= 1
            if not self._left:
                exchange.head.close = True
                if self.context.config.max_requests_per_connection:
                    self.context.counts.cx_spent += 1
        if refused(exchange, self.context, whole, now):
            return True
        self._expect(self._due(), now)
        return False

    def _refuse(self, error: ProtocolError) -> None:
        """Answer what is no request; it is recorded like one, as far as it could be read."""
        self._answer_without_request(local_reply.of_protocol_error(error))

    def _answer_without_request(self, reply: LocalReply) -> None:
        self._reader.stop()
        head = RequestHead(b"-", b"-", b"-", [], close=True)
        self.context.in_flight += 1
        exchange = self.exchange = Exchange(self, head, self.context.process.clock.monotonic())
        exchange.request_whole = False  # whatever follows is read and dropped
        exchange.refuse(reply)

    def switch(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        exchange.switched()
        early = self._reader.switch()
        if early:
            exchange.request_data(early)
            exchange.flush_request()

    def over(self, now: float) -> None:
        self.context.in_flight -= 1
        exchange = self.exchange
        self.exchange = None
        if self._closing:
            return
        whole = exchange is None or exchange.request_whole
        if self._last or not whole:
            # A client that has sent more already may be sending still: a reset would overtake the answer.
            self._wind_up(whole=whole and not self._backlog)
            return
        self._idle_since = now
        if self.context.careful:
            self._expect(self._due(), now)
        if exchange is not None and exchange.head.upgrade is not None:
            self._backlog.extend(self._reader.decline())
        if self._backlog and not self._processing and not self._blocked:
            self._process_backlog()

    def _process_backlog(self) -> None:
        """Go on with what came while it could not be served."""
        waiting = list(self._backlog)
        self._backlog.clear()
        self._process(waiting)
        if not self._backlog:
            self._hold(_BACKLOG, False)

    def __repr__(self) -> str:
        return f"<DownstreamConnection {self.exchange or ('closing' if self._closing else 'idle')}>"
