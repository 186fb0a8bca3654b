"""The frames that are not heads or data: settings, pings, windows, resets, goodbyes. RFC 9113 6.3 to 6.9."""

from collections.abc import Callable

from sidecar.http.h2 import frames
from sidecar.http.h2.errors import ConnectionBroken, ErrorCode
from sidecar.http.h2.events import GoneAway, PingAnswered, Reset, SettingsChanged
from sidecar.http.h2.floods import Rate
from sidecar.http.h2.hpack_decoder import HpackDecoder
from sidecar.http.h2.outbound import MAX_SENT_FRAME, Outbound
from sidecar.http.h2.settings import DEFAULT_WINDOW, MAX_FRAME_SIZE, MAX_WINDOW, MIN_FRAME_SIZE, Limits, Settings
from sidecar.http.h2.stream import Stream

_REMEMBERED_RESETS = 512
_DEBUG_OCTETS = 256
_BEFORE_SETTINGS = 100
_UNLIMITED = 2**31 - 1


class Inbound(Outbound):
    """The control half of `H2Connection`; not used by itself."""

    def __init__(self, client: bool, settings: Settings, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(settings, limits)
        self._client = client
        self._clock = clock
        self._decoder = HpackDecoder(settings.max_header_list_size, settings.max_header_fields)
        self._own_initial = max(settings.initial_window_size, DEFAULT_WINDOW)
        self._opened = 0  # streams, ever
        self._highest_peer = 0
        self._last_accepted = MAX_WINDOW
        self._next_id = 1
        self._peer_max_streams = _BEFORE_SETTINGS
        self._peer_connect_protocol = False
        self._peer_going = False
        self._peer_last = MAX_WINDOW
        self._was_reset: dict[int, None] = {}  # by us, and recently
        self._worked = False
        self._settings_pending = 0
        self._saw_settings = False
        self._window_updates = 0
        self._ignored = 0
        window_s = limits.window_s
        self._resets = Rate(limits.resets, window_s)
        self._pings = Rate(limits.pings, window_s)
        self._settings_frames = Rate(limits.settings, window_s)
        self._empty_data = Rate(limits.empty_data, window_s)
        self._late = Rate(limits.late_frames, window_s)

    # What is known about the peer

    @property
    def peer_max_streams(self) -> int:
        """Streams of ours that the peer allows at once; 100 until its SETTINGS say."""
        return self._peer_max_streams

    @property
    def peer_connect_protocol(self) -> bool:
        """The peer offers extended CONNECT (RFC 8441)."""
        return self._peer_connect_protocol

    @property
    def gone_away(self) -> bool:
        """The peer has sent GOAWAY: no new streams of ours."""
        return self._peer_going

    # Dispatch

    def _on_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream, payload)
        elif kind == frames.RST_STREAM:
            self._on_reset(stream, payload)
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._on_ping(flags, stream, payload)
        elif kind == frames.GOAWAY:
            self._on_goaway(stream, payload)
        elif kind == frames.PRIORITY:
            self._on_priority(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, and push is off")
        elif kind == frames.CONTINUATION:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "CONTINUATION behind no HEADERS")
        else:
            self._count_ignored()  # RFC 9113 5.5: unknown types are discarded

    def _count_ignored(self) -> None:
        self._ignored += 1
        if self._ignored > self._limits.priority_per_stream * (1 + self._opened):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many PRIORITY or unknown frames")

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            self._own_settings_apply()
            return
        if len(payload) % 6:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of an odd size")
        if self._settings_frames.exceeded(self._clock()):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many SETTINGS")
        if not self._saw_settings:
            self._saw_settings = True
            self._peer_max_streams = _UNLIMITED
        for identifier, value in frames.iter_settings(payload):
            self._peer_setting(identifier, value)
        self._put_control(frames.SETTINGS_ACK)
        self._events.append(SettingsChanged(0))

    def _own_settings_apply(self) -> None:
        """The peer works by our SETTINGS from here on; before, it could not know what is stricter than the default."""
        if not self._settings_pending:
            return  # nothing is lost by an acknowledgement of nothing
        self._settings_pending -= 1
        self._decoder.set_limit(self._settings.header_table_size)
        delta = self._settings.initial_window_size - self._own_initial
        if delta:
            self._own_initial += delta
            for known in self._streams.values():
                known.receive_window += delta

    def _peer_setting(self, identifier: int, value: int) -> None:
        """RFC 9113 6.5.2, RFC 8441 3; unknown ones are ignored."""
        if identifier == frames.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "an initial window beyond 2^31-1")
            self._initial_window_changes(value)
        elif identifier == frames.MAX_CONCURRENT_STREAMS:
            self._peer_max_streams = value
        elif identifier == frames.MAX_FRAME_SIZE:
            if not MIN_FRAME_SIZE <= value <= MAX_FRAME_SIZE:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a maximum frame size out of bounds")
            self._frame_size = min(value, MAX_SENT_FRAME)
        elif identifier == frames.HEADER_TABLE_SIZE:
            self._encoder.set_limit(value)
        elif identifier == frames.ENABLE_PUSH:
            if value > 1 or (value and self._client):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "push enabled by who can not")
        elif identifier == frames.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (not value and self._peer_connect_protocol):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "extended CONNECT neither on nor off")
            self._peer_connect_protocol = value == 1

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "PING of another size than 8")
        if not self._worked and self._pings.exceeded(self._clock()):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many PINGs")
        self._worked = False
        if flags & frames.ACK:
            self._events.append(PingAnswered(payload))
        else:
            self._put_control(frames.ping(payload, True))

    def _on_window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of another size than 4")
        self._window_updates += 1
        if self._window_updates > 5 + 2 * (self._opened + self._limits.window_updates_per_data * self._data_sent):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATEs")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if stream and stream not in self._streams:
            self._must_not_be_idle(stream, "WINDOW_UPDATE")
            return  # it was on its way when the stream ended (5.1)
        wrong = self._window_grows(stream, increment)
        if wrong:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            self._stream_error(self._streams[stream], code, wrong)

    def _on_reset(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of another size than 4")
        known = self._streams.get(stream)
        if known is None:
            self._must_not_be_idle(stream, "RST_STREAM")
            self._count_late()
            return
        self._count_reset()
        self._close(known)
        self._events.append(Reset(stream, int.from_bytes(payload, "big"), "", False))

    def _on_goaway(self, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of less than 8 octets")
        if self._peer_going and self._settings_frames.exceeded(self._clock()):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many GOAWAYs")
        last = int.from_bytes(payload[:4], "big") & MAX_WINDOW
        if last > self._peer_last:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "GOAWAY takes back an earlier one")
        self._peer_going = True
        self._peer_last = last
        code = int.from_bytes(payload[4:8], "big")
        self._events.append(GoneAway(last, code, payload[8 : 8 + _DEBUG_OCTETS]))
        if self._client:
            for known in [known for known in self._streams.values() if known.id > last]:
                self._close(known)
                self._events.append(Reset(known.id, ErrorCode.REFUSED_STREAM, "", False))

    def _on_priority(self, stream: int, payload: bytes) -> None:
        """Read for its errors only (RFC 9113 5.3.2 and 6.3)."""
        if not stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PRIORITY on no stream")
        self._count_ignored()
        wrong = ErrorCode.NO_ERROR
        if len(payload) != 5:
            wrong = ErrorCode.FRAME_SIZE_ERROR
        elif int.from_bytes(payload[:4], "big") & MAX_WINDOW == stream:
            wrong = ErrorCode.PROTOCOL_ERROR
        if wrong != ErrorCode.NO_ERROR:
            known = self._streams.get(stream)
            if known is None:
                raise ConnectionBroken(wrong, "a malformed PRIORITY")
            self._stream_error(known, wrong, "a malformed PRIORITY")

    # Streams that end out of turn

    def _must_not_be_idle(self, stream: int, what: str) -> None:
        ours = stream & 1 == (1 if self._client else 0)
        if stream == 0 or (stream >= self._next_id or not self._client if ours else stream > self._highest_peer):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that nobody opened")

    def _stream_error(self, known: Stream, code: ErrorCode, details: str) -> None:
        """The peer broke a rule of one stream (5.4.2): that one ends, and the application hears of it."""
        self._close(known)
        self._put_reset(known.id, code)
        self._count_reset()
        self._events.append(Reset(known.id, code, details, True))

    def _put_reset(self, stream: int, code: int) -> None:
        self._put_control(frames.rst_stream(stream, code))
        remembered = self._was_reset
        remembered[stream] = None
        if len(remembered) > _REMEMBERED_RESETS:
            del remembered[next(iter(remembered))]

    def _count_reset(self) -> None:
        # A client has chosen its server, and how many streams it opens there: only servers count.
        if not self._client and self._resets.exceeded(self._clock()):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    def _count_late(self) -> None:
        if self._late.exceeded(self._clock()):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many frames on streams that are over")
