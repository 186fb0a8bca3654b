"""One HTTP/2 connection to an endpoint: it carries many requests at once, as many as the endpoint allows.

The codec keeps the protocol's rules; each stream's events go to the request that holds it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mesh.clock import Clock
from sidecar.clusters.h2_requests import H2UpstreamStream
from sidecar.clusters.losses import CLOSED, REFUSED, RESET, STALE, Loss
from sidecar.clusters.upstream import AnswerEvent
from sidecar.config.cluster import Cluster
from sidecar.http.errors import ProtocolError
from sidecar.http.fields import trailing
from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import (
    INFORMATIONAL,
    TRAILERS,
    ConnectionFailed,
    Data,
    Event,
    GoneAway,
    Headers,
    PingAnswered,
    Reset,
    SettingsChanged,
    Writable,
)
from sidecar.http.h2.floods import Rate
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.h2_messages import granted, response_of
from sidecar.http.head import END, Trailers
from sidecar.net.outbox import ungathered
from sidecar.net.peer import PeerRefused
from sidecar.net.timers import MAX_LOOK_S, NEVER, TimerWheel

if TYPE_CHECKING:
    from sidecar.clusters.h2_pool import H2Pool

QUESTION: Final = b"alive?!?"
"""The PING that asks whether the endpoint is there."""

MAX_RESETS: Final = 150
RESETS_WINDOW_S: Final = 10.0
"""A connection on which clients gave up more requests than this within the window takes no new ones: its endpoint may
hold the resets against it (Envoy and we from 500 on), and the connection is not only theirs who gave up. What is under
way on it finishes; with that, and two windows in one of the endpoint's, it stays below."""

log = logging.getLogger(__name__)


class H2Upstream:
    """States: opening (until the endpoint's SETTINGS), open, going (no new streams), closing.

    The loop's Protocol by its methods.
    """

    __slots__ = (
        "_clock",
        "_idle_since",
        "_loop",
        "_owner",
        "_ping_at",
        "_pong_by",
        "_receiving",
        "_resets",
        "_scheduled",
        "_seen_requests",
        "_seen_resets",
        "_settled",
        "_streams",
        "_timers",
        "blocked",
        "buffer_bytes",
        "codec",
        "deadline",
        "going",
        "http2",
        "idle_s",
        "look_at",
        "refused",
        "remote",
        "requests",
        "transport",
    )

    # Known once the connection is made.
    transport: asyncio.Transport

    def __init__(
        self,
        owner: "H2Pool",
        remote: str,
        config: Cluster,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        timers: TimerWheel,
    ) -> None:
        self._owner = owner
        self.remote = remote
        """The endpoint's `host:port`."""
        self.idle_s = config.idle_timeout_s
        http2 = self.http2 = config.http2
        self.buffer_bytes = config.buffer_bytes
        """More than this of a request unsent pauses its client."""
        settings = Settings(
            initial_window_size=http2.stream_window_bytes, connection_window_size=http2.connection_window_bytes
        )
        self.codec = H2Connection(client=True, settings=settings, limits=Limits(), clock=clock.monotonic)
        self._clock = clock
        self._loop = loop
        self._timers = timers
        self._streams: dict[int, H2UpstreamStream] = {}
        self._settled: asyncio.Future[None] = loop.create_future()
        self.requests = 0
        """Streams opened."""
        self.refused: PeerRefused | None = None
        """Why the peer's certificate does not do; the connection is being aborted."""
        self.going = False
        """No new streams: the endpoint said GOAWAY, or its pool has no more for it."""
        self.blocked = False
        self._receiving = False
        self._scheduled = False
        self._seen_requests = 0
        self._resets = Rate(MAX_RESETS, RESETS_WINDOW_S)
        self._seen_resets = 0
        self._idle_since = clock.monotonic()
        self._ping_at = NEVER
        self._pong_by = NEVER
        self.deadline = NEVER
        self.look_at = NEVER

    # for the pool

    async def settled(self) -> None:
        """Until the endpoint has said what it allows. Raises OSError if it never will."""
        await self._settled

    @property
    def available(self) -> int:
        """Requests that may begin now."""
        if self.going or self.transport.is_closing():
            return 0
        return min(self.codec.available, self.http2.max_streams - len(self._streams))

    @property
    def active(self) -> int:
        """Requests under way."""
        return len(self._streams)

    @property
    def closing(self) -> bool:
        return self.transport.is_closing()

    def stream(self) -> H2UpstreamStream:
        """A way for one request; it counts once the request has begun."""
        return H2UpstreamStream(self)

    def retire(self) -> None:
        """No new requests; closed when the present ones are over."""
        self.going = True
        if not self._streams:
            self.close()

    # for the streams

    def begun(self, stream: H2UpstreamStream) -> None:
        """`stream` has its number."""
        self._streams[stream.id] = stream
        self.requests += 1

    def drop(self, stream: H2UpstreamStream) -> None:
        """`stream` is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        if self.codec.resets != self._seen_resets:
            self._seen_resets = self.codec.resets
            if self._resets.exceeded(self._clock.monotonic()) and not self.going:
                log.info("upstream %s: many requests were given up: another connection takes the next", self.remote)
                self.going = True
                self._owner.left(self)
        if self.going and not self._streams:
            self.close()
        elif not self.going:
            self._owner.offer(self)

    def soon(self, work: Callable[[], None]) -> None:
        """Call `work` in the loop's next round."""
        self._loop.call_soon(work)

    def write_soon(self) -> None:
        """Write what the codec has, once for all that happens in this round of the loop."""
        if not self._scheduled and not self._receiving:
            self._scheduled = True
            self._loop.call_soon(self._write_scheduled)

    def _write_scheduled(self) -> None:
        self._scheduled = False
        self._write()

    def _write(self) -> None:
        if not self.blocked and not self.transport.is_closing():
            data = self.codec.take_output()
            if data:
                self.transport.write(data)

    # the transport's side

    def connection_made(self, transport: Any) -> None:
        self.transport = ungathered(transport)
        transport.set_write_buffer_limits(high=self.buffer_bytes)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self._owner.verify(tls)
            except PeerRefused as error:
                self.refused = error
                transport.abort()
                return
        self.codec.start()
        self._write()
        now = self._idle_since
        if self.http2.ping_interval_s:
            self._ping_at = now + self.http2.ping_interval_s
        self._look_again(now)

    def data_received(self, data: bytes) -> None:
        if self._pong_by < NEVER:
            # As Envoy: whatever comes shows that the endpoint is there, though much may be in front of the answer.
            self._pong_by = self._clock.monotonic() + self.http2.ping_timeout_s
        self._receiving = True
        try:
            self._deliver(self.codec.receive(data))
        finally:
            self._receiving = False
        self._write()

    def _deliver(self, events: list[Event]) -> None:
        """Hand each stream what came for it, in one piece where nothing of another came between."""
        present: H2UpstreamStream | None = None
        batch: list[AnswerEvent] = []
        for event in events:
            if present is not None and event.stream != present.id:
                present.deliver(batch)
                present = None
                batch = []
            stream = self._streams.get(event.stream)
            if stream is None:
                self._take_other(event)
                continue
            if isinstance(event, Headers):
                present = stream
                if event.kind == TRAILERS:
                    batch.append(Trailers(trailing(event.fields)))
                else:
                    head = response_of(event)
                    if stream.upgrade is not None and 200 <= head.status < 300:
                        granted(head, stream.upgrade, stream.connect)
                    batch.append(head)
                if event.end and event.kind != INFORMATIONAL:
                    batch.append(END)
            elif isinstance(event, Data):
                present = stream
                stream.credit += event.flow
                if event.data:
                    batch.append(event.data)
                if event.end:
                    batch.append(END)
            else:
                if present is not None:
                    present.deliver(batch)
                    present = None
                    batch = []
                if isinstance(event, Reset):
                    self._lose(stream, event)
                elif isinstance(event, Writable):
                    stream.writable()
        if present is not None:
            present.deliver(batch)

    def _take_other(self, event: Event) -> None:
        """Of the connection, or of a stream that is over."""
        if isinstance(event, Data):
            self.codec.consumed(event.stream, event.flow)
        elif isinstance(event, SettingsChanged):
            if not self._settled.done():
                self._settled.set_result(None)
            elif not self.going:
                self._owner.offer(self)
        elif isinstance(event, GoneAway):
            self.going = True
            self._owner.left(self)
            if not self._streams:
                self.close()
        elif isinstance(event, PingAnswered):
            if event.opaque == QUESTION and self._pong_by < NEVER:
                now = self._clock.monotonic()
                self._pong_by = NEVER
                self._ping_at = now + self.http2.ping_interval_s
                self._look_again(now)
        elif isinstance(event, ConnectionFailed):
            self._broken(event)

    def _lose(self, stream: H2UpstreamStream, event: Reset) -> None:
        if event.local:
            stream.fail(ProtocolError(502, "http2.protocol_error", event.details))
        else:
            stream.lose(REFUSED if event.code == ErrorCode.REFUSED_STREAM else RESET)

    def _broken(self, event: ConnectionFailed) -> None:
        log.info("upstream %s: HTTP/2 connection closed: %s", self.remote, event.details)
        self.going = True
        if not self._settled.done():
            self._settled.set_exception(ConnectionAbortedError(f"no HTTP/2 is spoken: {event.details}"))
            self._settled.exception()
        for stream in list(self._streams.values()):
            stream.fail(ProtocolError(502, "http2.protocol_error", event.details))
        self.close()

    def eof_received(self) -> None:
        """The endpoint is gone; connection_lost follows."""

    def connection_lost(self, error: Exception | None) -> None:
        self.deadline = NEVER
        self.going = True
        if not self._settled.done():
            self._settled.set_exception(error if isinstance(error, OSError) else ConnectionResetError("closed"))
            self._settled.exception()
        self._owner.left(self)
        self._owner.closed(self)
        for stream in list(self._streams.values()):
            loss: Loss = STALE if self.requests > 1 and not stream.answering else CLOSED
            stream.lose(loss)

    def pause_writing(self) -> None:
        self.blocked = True  # each stream holds its client when it has written more

    def resume_writing(self) -> None:
        self.blocked = False
        for stream in list(self._streams.values()):
            stream.writable()
        self._write()

    # ends

    def expired(self, now: float) -> None:
        """The wheel looks: close what was not used for too long. It counts from the look that saw it used last. And ask
        the endpoint whether it is there, if that is wanted."""
        if self.transport.is_closing():
            return
        if now >= self._pong_by:
            self._dead()
            return
        if now >= self._ping_at:
            self._ping_at = NEVER
            self._pong_by = now + self.http2.ping_timeout_s
            self.codec.ping(QUESTION)
            self._write()
        if self._streams or self.requests != self._seen_requests:
            self._seen_requests = self.requests
            self._idle_since = now
        elif now - self._idle_since >= self.idle_s:
            self.close()
            return
        self._look_again(now)

    def _look_again(self, now: float) -> None:
        deadline = min(now + min(self.idle_s, MAX_LOOK_S), self._ping_at, self._pong_by)
        self.deadline = deadline
        if deadline < self.look_at:
            self._timers.watch(self, now)

    def _dead(self) -> None:
        """Nothing has come since we asked: what is under way is lost, as if the connection were."""
        what = "upstream %s: no answer to a keep-alive PING within %g s: cut with %d requests under way"
        log.warning(what, self.remote, self.http2.ping_timeout_s, len(self._streams))
        self._owner.unanswered()
        self.going = True
        self._owner.left(self)
        self.transport.abort()

    def close(self) -> None:
        """Say goodbye, and close once what is written has left."""
        if self.transport.is_closing():
            return
        self.going = True
        self._owner.left(self)
        self.codec.goaway(ErrorCode.NO_ERROR, graceful=False)
        self._write()
        self.transport.close()

    def __repr__(self) -> str:
        state = "going" if self.going else "open"
        return f"<H2Upstream to {self.remote} {state}, {len(self._streams)} of {self.requests} requests>"
