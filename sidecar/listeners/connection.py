"""One client's HTTP/1.1 connection: bytes to requests, one at a time, answers in order; who may wait how long."""

import asyncio
import logging
import socket
import struct
from collections import deque
from typing import Any, Final, cast

from sidecar.config.listener import Codec
from sidecar.filters.chain import LocalReply
from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestEvent, RequestReader
from sidecar.http.h2.frames import PREFACE
from sidecar.http.head import END, End, Header, RequestHead, Trailers
from sidecar.listeners import local_reply
from sidecar.listeners.arrival import identify
from sidecar.listeners.context import HttpContext
from sidecar.listeners.exchange import Exchange
from sidecar.listeners.h1_writer import H1Writer
from sidecar.listeners.h2_connection import H2ClientConnection
from sidecar.listeners.limits import refused
from sidecar.listeners.tapped import begin_tapped
from sidecar.net.outbox import gathering, ungathered
from sidecar.net.peer import PeerRefused
from sidecar.net.timers import NEVER

IDLE_GRACE_S: Final = 0.5
"""How long an idle connection of a chain that goes away may still bring a request."""

LINGER_BYTES: Final = 1024 * 1024
"""Of what a client still sends after an early answer, read and dropped so that the answer reaches it."""

FLUSH_S: Final = 30.0
"""How long a closing connection may take to send what is written."""

_BACKLOG: Final = 1
_UPSTREAM: Final = 2

_NO_LINGER = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)


class DownstreamConnection(H1Writer):
    """The loop's Protocol by its methods. States: opening (which protocol is spoken is not known), idle, serving
    (`exchange` set), lingering (input dropped until the close), closing.

    `_special`: opening, lingering or closing; one look tells that nothing of that has to be looked at. Where HTTP/2 is
    spoken another connection takes its place."""

    __slots__ = (
        "_backlog",
        "_blocked",
        "_closing",
        "_end_at",
        "_first",
        "_head_deadline",
        "_holds",
        "_idle_since",
        "_last_at",
        "_left",
        "_lingering",
        "_processing",
        "_reader",
        "_special",
        "_trailers",
        "deadline",
        "exchange",
        "look_at",
    )

    def __init__(self, context: HttpContext) -> None:
        super().__init__()
        self.context = context
        self.exchange: Exchange | None = None
        self.peer = None
        self.deadline = NEVER
        self.look_at = NEVER
        config = context.config
        self._reader = RequestReader(max_header_bytes=config.max_header_bytes, max_headers=config.max_headers)
        self._trailers: list[Header] | None = None
        self._backlog: deque[RequestEvent] = deque()
        self._first = b""
        self._special = config.codec is not Codec.HTTP1
        self._blocked = False
        self._processing = False
        self._lingering = 0
        self._closing = False
        self._holds = 0
        self._head_deadline = NEVER
        self._idle_since = 0.0
        self._last_at = NEVER
        """When it is too old."""
        self._left = config.max_requests_per_connection
        """Requests that it may still carry; 0: any number."""
        self._end_at = NEVER

    # the transport's side

    def connection_made(self, transport: Any) -> None:
        context = self.context
        self.transport = gathering(transport, context.process.outbox)
        transport.set_write_buffer_limits(high=context.config.buffer_bytes)
        context.counts.cx_total += 1
        context.connections.add(self)
        try:
            identify(self, transport)
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
        if context.ends:
            other.drain()
        if data:
            other.data_received(data)

    def eof_received(self) -> None:
        """A client that closes its half is gone, as for Envoy: what it asked for is given up."""

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
        if self._backlog and not self._processing and not self._blocked:
            self._process_backlog()

    def _process_backlog(self) -> None:
        """Go on with what came while it could not be served."""
        waiting = list(self._backlog)
        self._backlog.clear()
        self._process(waiting)
        if not self._backlog:
            self._hold(_BACKLOG, False)

    def deadline_moved(self, deadline: float, now: float) -> None:
        self._expect(min(deadline, self._last_at), now)

    # time

    def _expect(self, deadline: float, now: float) -> None:
        """Have the wheel look at `deadline` at the latest, and in any case once a minute: what is due changes."""
        self.deadline = min(deadline, now + 60.0)
        if self.deadline < self.look_at:
            self.context.process.timers.watch(self, now)

    def _due(self) -> float:
        """When something must be done unless something happens first, monotonic seconds."""
        if self._closing or self._lingering:
            return self._end_at
        if self.exchange is not None:
            return min(self.exchange.deadline(), self._last_at)
        idle_s = self.context.config.idle_timeout_s
        return min(self._head_deadline, self._last_at, self._idle_since + idle_s if idle_s > 0 else NEVER)

    def expired(self, now: float) -> None:
        """The wheel looks. Whether something is due is decided here and now."""
        due = self._due()
        if due <= now:
            if self._closing:
                self.abort()
                return
            if self._lingering:
                self.close()
            elif self._last_at <= now:
                self._too_old()
            elif self.exchange is not None:
                self.exchange.expired(now)
            elif self._head_deadline > now:
                self.context.counts.cx_idle += 1
                self.close()
            else:
                self.context.counts.rq_head_late += 1
                self._answer_without_request(local_reply.REQUEST_TIMEOUT)
            due = self._due()
        self._expect(due, now)

    def _too_old(self) -> None:
        """Close now if idle, else after the answer to the request that is here or has begun to arrive."""
        self._last_at = NEVER
        if not self.context.draining:
            self.context.counts.cx_old += 1
        if self.exchange is not None:
            self.exchange.head.close = self._last = True
        elif self._reader.mid_head or self._first:
            self._left = 1
        else:
            self.close()

    # ends

    def _wind_up(self, *, whole: bool) -> None:
        """Close after the answer. If the client is still sending, read on for a moment: a reset would overtake it."""
        if whole:
            self.close()
            return
        now = self.context.process.clock.monotonic()
        self._lingering = LINGER_BYTES
        self._special = True
        self._backlog.clear()
        self._holds = 0
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._end_at = now + self.context.config.delayed_close_s
        self._expect(self._end_at, now)

    def close(self) -> None:
        """Close once what is written has left."""
        if self._closing:
            return
        self._closing = self._special = True
        now = self.context.process.clock.monotonic()
        self._end_at = now + FLUSH_S
        self._expect(self._end_at, now)
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection with a reset: what was sent of an answer can not pass for a whole one."""
        self._closing = self._special = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            except OSError:  # closed already
                pass
        self.transport.abort()

    def drain(self) -> None:
        """The chain is going away: the connection ends with its next answer. If idle, it waits for a moment: the
        client may have sent a request that we have not seen yet."""
        if self.exchange is None and not self._reader.mid_head and not (self._lingering or self._closing):
            now = self.context.process.clock.monotonic()
            self._last_at = min(self._last_at, now + IDLE_GRACE_S)
            self._expect(self._due(), now)

    def end_soon(self) -> None:
        """Memory is short: the connection ends with its next answer, which says so."""

    # back-pressure

    def hold_client(self, held: bool) -> None:
        self._hold(_UPSTREAM, held)

    def _hold(self, reason: int, held: bool) -> None:
        before = self._holds
        self._holds = before | reason if held else before & ~reason
        if self._closing or bool(before) == bool(self._holds):
            return
        if self._holds:
            self.context.counts.paused += 1
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def __repr__(self) -> str:
        return f"<DownstreamConnection {self.exchange or ('closing' if self._closing else 'idle')}>"
