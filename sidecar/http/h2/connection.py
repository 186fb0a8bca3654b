"""One HTTP/2 connection: bytes in, events out; calls in, bytes out. RFC 9113. No I/O, no time but what it is given.

Either end. What concerns HTTP/2 is decided here: framing, flow control, which fields a message may have. What a
request means, where it goes and when a stream has taken too long is the caller's.
"""

from collections.abc import Callable
from typing import Final

from sidecar.http.h2 import frames
from sidecar.http.h2.errors import ConnectionBroken, ErrorCode
from sidecar.http.h2.events import ConnectionFailed, Event
from sidecar.http.h2.messages import Messages
from sidecar.http.h2.settings import DEFAULT_WINDOW, MAX_WINDOW, Limits, Settings
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Header

_ANY: Final = 0
_PREFACE: Final = 1
_FIRST_SETTINGS: Final = 2


class H2Connection(Messages):
    """`receive` what came, look at the events, call what follows from them, write `take_output()` once.

    `client`: we opened the connection. `clock`: monotonic seconds; asked only when something rare is counted.
    """

    def __init__(self, *, client: bool, settings: Settings, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(client, settings, limits, clock)
        self.failed = False
        """The peer broke the connection's rules, or we said goodbye with an error: input is ignored."""
        self.resets = 0
        """Streams that the application has reset."""
        self._pending = bytearray()
        self._needed = 0
        self._expects = _FIRST_SETTINGS if client else _PREFACE

    def start(self) -> None:
        """Preface and SETTINGS into the output; both ends do it first, without waiting for the other (3.4)."""
        settings = self._settings
        if self._client:
            self._out.append(frames.PREFACE)
        self._out.append(frames.settings(settings, self._client))
        self._settings_pending += 1
        more = settings.connection_window_size - DEFAULT_WINDOW
        if more > 0:
            self._out.append(frames.window_update(0, more))
            self._receive_window += more

    # What the application starts and ends

    @property
    def available(self) -> int:
        """Clients: streams that may be opened now. 0 after GOAWAY of either side, or a failure."""
        if self._peer_going or self.failed or self._last_accepted != MAX_WINDOW or self._next_id > MAX_WINDOW:
            return 0
        return max(0, self._peer_max_streams - len(self._streams))

    def open_stream(self, fields: list[Header], end: bool, never_indexed: list[bytes] | None = None) -> int:
        """Clients: send a request's head, `:method` first. The stream's number, or 0: see `available`."""
        if self.available <= 0:
            return 0
        number = self._next_id
        self._next_id = number + 2
        self._opened += 1
        known = Stream(number, self._initial_send_window, self._own_initial)
        method = fields[0][1]
        if method == b"HEAD":
            known.bodiless = True
        elif method == b"CONNECT":
            known.tunnel = True
        self._streams[number] = known
        self._put_headers(number, fields, end, never_indexed)
        if end:
            known.sending = False
        return number

    def reset(self, stream: int, code: ErrorCode) -> None:
        """End a stream now, both ways; no event comes of it. Nothing happens on one that is over."""
        known = self._streams.get(stream)
        if known is not None:
            self._close(known)
            self._put_reset(stream, code)
            self.resets += 1

    def goaway(self, code: ErrorCode, *, graceful: bool) -> None:
        """Say goodbye (6.8). `graceful`: streams on their way are still accepted; call again without, a round trip
        (a `ping` answered) later. With an error code nothing more is read; what is open is the caller's to end."""
        if self.failed:
            return
        if graceful:
            self._out.append(frames.goaway(MAX_WINDOW, ErrorCode.NO_ERROR, b""))
            return
        self._last_accepted = min(self._last_accepted, self._highest_peer)
        self._out.append(frames.goaway(self._last_accepted, code, b""))
        if code != ErrorCode.NO_ERROR:
            self.failed = True

    def ping(self, opaque: bytes) -> None:
        """Eight octets; PingAnswered brings them back."""
        self._out.append(frames.ping(opaque, False))

    @property
    def mid_head(self) -> bool:
        """A header block, or what must come first on a connection, has begun and is not whole."""
        if self._expects or self._block_stream:
            return True
        pending = self._pending
        return 0 < len(pending) < 4 or (len(pending) >= 4 and pending[3] == frames.HEADERS)

    # What comes

    def receive(self, data: bytes) -> list[Event]:
        """Events in the order of what came. Never raises: ConnectionFailed is the last event of a broken connection."""
        events: list[Event] = []
        if self.failed:
            return events
        self._events = events
        try:
            self._read(data)
            self._check_answers()
        except ConnectionBroken as error:
            self._fail(error.code, error.details)
        return events

    def _fail(self, code: ErrorCode, details: str) -> None:
        self.failed = True
        self._pending.clear()
        self._block.clear()
        self._blocked.clear()
        self._streams.clear()
        last = min(self._last_accepted, self._highest_peer)
        self._out.append(frames.goaway(last, code, details.encode("ascii", "replace")))
        self._events.append(ConnectionFailed(code, details))

    def _read(self, data: bytes) -> None:
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        at = 0
        end = len(data)
        largest = self._settings.max_frame_size
        if self._expects == _PREFACE:
            at = self._read_preface(data)
            if at == 0:
                return
        while end - at >= 9:
            high, low, kind, flags, stream = frames.read_head(data, at)
            length: int = high << 8 | low
            stream &= 0x7FFFFFFF
            if length > largest:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a frame beyond our maximum")
            if self._block_stream:
                if kind != frames.CONTINUATION or stream != self._block_stream:
                    raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
            elif self._expects:
                if kind != frames.SETTINGS or flags & frames.ACK:
                    raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                self._expects = _ANY
            stop = at + 9 + length
            if stop > end:
                self._keep(data, at, 9 + length)
                return
            at += 9
            if kind == 0:
                self._on_data(data, at, stop, flags, stream)
            elif kind == 1:
                self._on_headers(data, at, stop, flags, stream)
            elif self._block_stream:
                self._on_continuation(data[at:stop], flags)
            else:
                self._on_control(kind, flags, stream, data[at:stop])
                self._check_answers()
            at = stop
        if at < end:
            self._keep(data, at, 9)

    def _check_answers(self) -> None:
        if self._control > self._limits.control_frames:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "answers pile up unread")

    def _keep(self, data: bytes, at: int, needed: int) -> None:
        self._pending += data[at:]
        self._needed = needed

    def _read_preface(self, data: bytes) -> int:
        """How many octets the preface took; 0 if it has not come in full."""
        preface = frames.PREFACE
        if data[: len(preface)] != preface[: len(data)]:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "no connection preface")
        if len(data) < len(preface):
            self._keep(data, 0, len(preface))
            return 0
        self._expects = _FIRST_SETTINGS
        return len(preface)
