"""A client's HTTP/1.1 connection apart from its requests: time-outs, back-pressure, and its end."""

import socket
import struct
from collections import deque
from typing import Final

from sidecar.config.endpoint import Address
from sidecar.config.listener import Codec
from sidecar.filters.chain import LocalReply
from sidecar.http.h1_request import RequestEvent, RequestReader
from sidecar.http.head import Header
from sidecar.listeners import local_reply
from sidecar.listeners.context import HttpContext
from sidecar.listeners.exchange import Exchange
from sidecar.listeners.h1_writer import H1Writer
from sidecar.net.timers import NEVER

IDLE_GRACE_S: Final = 0.5
"""How long an idle connection of a chain that goes away may still bring a request."""

LINGER_BYTES: Final = 1024 * 1024
"""Of what a client still sends after an early answer, read and dropped so that the answer reaches it."""

FLUSH_S: Final = 30.0
"""How long a closing connection may take to send what is written."""

TURN: Final = 4
"""A reason not to read: others have their turn (net/turns)."""
_UPSTREAM: Final = 2

_NO_LINGER = struct.pack("ii", 1, 0)


class H1Link(H1Writer):
    """States: opening (which protocol is spoken is not known), idle, serving (`exchange` set), lingering (input dropped
    until the close), closing.

    `_special`: opening, lingering or closing; one look tells that nothing of that has to be looked at."""

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
        "destination",
        "exchange",
        "look_at",
    )

    def __init__(self, context: HttpContext) -> None:
        super().__init__()
        self.context = context
        self.exchange: Exchange | None = None
        self.peer = None
        self.destination: Address | None = None
        """Where a redirected connection was going; set before it is made."""
        self.deadline = NEVER
        self.look_at = NEVER
        config = context.config
        self._reader = RequestReader(
            max_header_bytes=config.max_header_bytes, max_headers=config.max_headers, tunnels=True
        )
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
            if reason != TURN:
                self.context.counts.paused += 1
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # what requests are made of

    def _answer_without_request(self, reply: LocalReply) -> None:
        raise NotImplementedError
