"""A client's HTTP/2 connection apart from what its streams carry: writing, time-outs, GOAWAY, and its end."""

import logging
from typing import TYPE_CHECKING, Any, Final

from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import ConnectionFailed
from sidecar.http.h2.settings import Limits, Settings
from sidecar.listeners.h2_stream import H2ClientStream
from sidecar.net.timers import NEVER
from sidecar.telemetry.record import RequestRecord

if TYPE_CHECKING:
    import asyncio

    from sidecar.listeners.client_stream import ClientStream

FLUSH_S: Final = 30.0
"""How long a closing connection may take to send what is written."""

GOODBYE: Final = b"goodbye!"
"""The PING that follows the first GOAWAY."""

log = logging.getLogger(__name__)


class H2Link:
    """States: open, draining (GOAWAY sent, streams finish), closing."""

    __slots__ = (
        "_closing",
        "_draining",
        "_end_at",
        "_flushing",
        "_goodbye_at",
        "_head_deadline",
        "_idle_since",
        "_last_at",
        "_left",
        "_loop",
        "_receiving",
        "_scheduled",
        "_streams",
        "admission",
        "binding",
        "blocked",
        "codec",
        "context",
        "deadline",
        "look_at",
        "peer",
        "transport",
    )

    def __init__(self, former: "ClientStream", transport: "asyncio.Transport") -> None:
        context = self.context = former.context
        self.admission = former.admission
        self.binding = former.binding
        self.peer = former.peer
        self.transport = transport
        config = context.config
        process = context.process
        self.codec = H2Connection(
            client=False,
            settings=Settings(
                max_concurrent_streams=config.max_streams,
                initial_window_size=config.stream_window_bytes,
                connection_window_size=config.connection_window_bytes,
                max_header_list_size=config.max_header_bytes,
                max_header_fields=config.max_headers,
                enable_connect_protocol=context.offers_tunnels,
            ),
            limits=Limits(),
            clock=process.clock.monotonic,
        )
        self._loop = process.loop
        self._streams: dict[int, H2ClientStream] = {}
        self._flushing: dict[int, float] = {}
        """Streams whose exchange is over and whose answer waits for the client's window: until when."""
        self.blocked = False
        """The client's socket takes no more."""
        self._receiving = False
        self._scheduled = False
        self._closing = False
        self._draining = False
        self._goodbye_at = NEVER
        self._head_deadline = NEVER
        self._end_at = NEVER
        self.deadline = NEVER
        self.look_at = NEVER
        now = self._idle_since = process.clock.monotonic()
        duration_s = config.max_connection_duration_s
        self._last_at = now + duration_s if duration_s else NEVER
        """When it is too old."""
        self._left = config.max_requests_per_connection
        """Requests that it may still carry; 0: any number."""
        self.codec.start()
        self.write_soon()
        self.expect(self._due(), now)

    def connection_made(self, transport: Any) -> None:
        """Never: the transport was made with another protocol."""

    def pause_writing(self) -> None:
        self.blocked = True  # each stream holds its upstream when it has written more

    def resume_writing(self) -> None:
        self.blocked = False
        for stream in list(self._streams.values()):
            stream.writable()
        self._write()

    def report(self) -> None:
        """Telemetry is about to be flushed."""
        for stream in self._streams.values():
            stream.report()

    # writing

    def write_soon(self) -> None:
        """Write what the codec has, once for all that happens in this round of the loop."""
        if not self._scheduled and not self._receiving:
            self._scheduled = True
            self._loop.call_soon(self._write_scheduled)

    def _write_scheduled(self) -> None:
        self._scheduled = False
        self._write()

    def _write(self) -> None:
        # While the socket takes no more it stays with the codec, which bounds what it answers unread.
        if not self.blocked and not self.transport.is_closing():
            data = self.codec.take_output()
            if data:
                self.transport.write(data)

    # time

    def expect(self, deadline: float, now: float) -> None:
        """Have the wheel look at `deadline` at the latest, and in any case once a minute: what is due changes."""
        deadline = min(deadline, now + 60.0)
        if deadline < self.deadline or self.deadline <= now:
            self.deadline = deadline
        if self.deadline < self.look_at:
            self.context.process.timers.watch(self, now)

    def _due(self) -> float:
        """When something must be done unless something happens first, monotonic seconds."""
        if self._closing:
            return self._end_at
        due = min(self._head_deadline, self._goodbye_at, self._last_at)
        for stream in self._streams.values():
            exchange = stream.exchange
            if exchange is not None:
                due = min(due, exchange.deadline())
        for until in self._flushing.values():
            due = min(due, until)
        idle_s = self.context.config.idle_timeout_s
        if idle_s > 0 and not self._streams and not self._draining:
            due = min(due, self._idle_since + idle_s)
        return due

    def expired(self, now: float) -> None:
        """The wheel looks. Whether something is due is decided here and now."""
        if self._due() <= now:
            if self._closing:
                self.abort()
                return
            self._expire(now)
        self.deadline = NEVER
        self.expect(self._due(), now)

    def _expire(self, now: float) -> None:
        for stream in list(self._streams.values()):
            exchange = stream.exchange
            if exchange is not None and exchange.deadline() <= now:
                exchange.expired(now)
        for number, until in list(self._flushing.items()):
            if until <= now or not self.codec.is_open(number):
                del self._flushing[number]
                self.codec.reset(number, ErrorCode.CANCEL)
                self.write_soon()
        if self._goodbye_at <= now:
            self.say_goodbye()
        if self._last_at <= now:
            self._last_at = NEVER
            self.context.counts.cx_old += 1
            self.drain()
        idle_s = self.context.config.idle_timeout_s
        idle = not self._streams and idle_s > 0 and self._idle_since + idle_s <= now
        if self._head_deadline <= now:
            self.context.counts.rq_head_late += 1
            self._record_refusal("request header timeout", 0)
            self._end(ErrorCode.ENHANCE_YOUR_CALM)
        elif idle and not self._draining:
            self.context.counts.cx_idle += 1
            self._end(ErrorCode.NO_ERROR)

    def _head_began_or_ended(self) -> None:
        """A header block, the preface too, that comes in pieces has a time to be whole."""
        if not self.codec.mid_head:
            self._head_deadline = NEVER
            return
        now = self.context.process.clock.monotonic()
        self._head_deadline = now + self.context.config.request_headers_timeout_s
        self.expect(self._head_deadline, now)

    # ends

    def stream_over(self, stream: H2ClientStream, now: float) -> None:
        """The stream's exchange is recorded."""
        raise NotImplementedError

    def drain(self) -> None:
        """The chain is going away: no new streams, close when the present ones are done (RFC 9113 6.8)."""
        if self._draining or self._closing:
            return
        self._draining = True
        now = self.context.process.clock.monotonic()
        self._goodbye_at = now + self.context.config.drain_timeout_s
        self.codec.goaway(ErrorCode.NO_ERROR, graceful=True)
        self.codec.ping(GOODBYE)
        self.write_soon()
        self.expect(self._goodbye_at, now)

    def end_soon(self) -> None:
        """Memory is short: no streams but the present ones."""
        self.drain()

    def say_goodbye(self) -> None:
        """What the client sent before it knew has come: now it is said which stream is the last."""
        self._goodbye_at = NEVER
        self.codec.goaway(ErrorCode.NO_ERROR, graceful=False)
        self.write_soon()
        self.close_if_done()

    def close_if_done(self) -> None:
        if self._goodbye_at == NEVER and not self._streams and not self.codec.open_streams:
            self.close()

    def _broken(self, event: ConnectionFailed) -> None:
        """The codec has said why in its GOAWAY."""
        details = details_of(event.details)
        log.info("client %s: HTTP/2 connection closed: %s", self.binding.remote, event.details)
        if self._streams:
            self._give_up("DPE", details)
        else:
            self._record_refusal(event.details, 0)
        self.close()

    def _end(self, code: ErrorCode) -> None:
        self.codec.goaway(code, graceful=False)
        self._give_up("DC", "downstream_remote_disconnect")
        self.close()

    def close(self) -> None:
        """Close once what is written has left."""
        if self._closing:
            return
        self._write()
        self._closing = True
        now = self.context.process.clock.monotonic()
        self._end_at = now + FLUSH_S
        self.deadline = NEVER
        self.expect(self._end_at, now)
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._closing = True
        self.transport.abort()

    @property
    def _patience_s(self) -> float:
        idle_s = self.context.config.stream_idle_timeout_s
        return idle_s if idle_s > 0 else NEVER

    def _record_refusal(self, details: str, status: int) -> None:
        """What was no request is recorded like one."""
        process = self.context.process
        now = process.clock.monotonic()
        record = RequestRecord(self.binding, now, b"-", b"-", b"-", "HTTP/2")
        record.status = status
        record.add_flag("DPE")
        record.details = details_of(details)
        process.telemetry.finish(record, now)

    def _give_up(self, flag: str, details: str) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        self._flushing.clear()
        for stream in streams:
            exchange = stream.exchange
            if exchange is not None:
                stream.gone()
                stream.exchange = None
                exchange.client_gone(flag, details)


def details_of(text: str) -> str:
    """Response code details have no spaces."""
    return "http2." + text.replace(" ", "_")
