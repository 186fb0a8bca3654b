"""What one end sends: heads, data as far as the windows go, and the rest in turns. RFC 9113 5.2 and 6.9."""

from collections import deque
from typing import Final

from sidecar.http.h2 import frames
from sidecar.http.h2.errors import ConnectionBroken, ErrorCode, Misuse
from sidecar.http.h2.events import Event, Writable
from sidecar.http.h2.hpack_encoder import HpackEncoder
from sidecar.http.h2.settings import DEFAULT_WINDOW, MAX_WINDOW, MIN_FRAME_SIZE, Limits, Settings
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Header

MAX_SENT_FRAME: Final = 65_536
"""Octets of one DATA frame, also where the peer takes more: streams take turns between frames."""

LOW_WATER: Final = 16_384
"""Octets still queued for a stream when Writable says that more is welcome."""


class Outbound:
    """The sending half of `H2Connection`; not used by itself."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._out: list[bytes] = []
        self._control = 0
        self._streams: dict[int, Stream] = {}
        self._encoder = HpackEncoder()
        self._send_window = DEFAULT_WINDOW
        self._initial_send_window = DEFAULT_WINDOW
        self._frame_size = MIN_FRAME_SIZE
        self._blocked: dict[int, Stream] = {}  # in the order in which they take turns
        self._data_sent = 0  # frames, and one more for every 2 KiB of one: each may be answered by WINDOW_UPDATEs
        self._receive_window = DEFAULT_WINDOW
        self._credit = 0
        self._credit_due = max(settings.connection_window_size, DEFAULT_WINDOW) // 2
        self._stream_credit_due = settings.initial_window_size // 2
        self._events: list[Event] = []

    def take_output(self) -> bytes:
        """Everything that is to be written now, once; b"" if nothing.

        While the transport does not take any more, leave it here: then a peer that makes us answer without reading
        the answers comes to the end of `Limits.control_frames`.
        """
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._control = 0
        return octets

    @property
    def output_octets(self) -> int:
        """Octets that wait for `take_output`."""
        return sum(map(len, self._out))

    @property
    def open_streams(self) -> int:
        """Streams that are not over, whoever opened them."""
        return len(self._streams)

    def is_open(self, stream: int) -> bool:
        """Whether the stream is not over."""
        return stream in self._streams

    def queued(self, stream: int) -> int:
        """Octets of data that wait for a window: nothing else holds the sender back. 0 for a stream that is over."""
        known = self._streams.get(stream)
        return 0 if known is None else known.queued

    def send_headers(
        self, stream: int, fields: list[Header], end: bool, never_indexed: list[bytes] | None = None
    ) -> None:
        """A response's head, a 1xx head, or (with `end`) trailers, which wait behind queued data.

        Names are in lower case, pseudo-headers first; what belongs to HTTP/1.1 has been taken out. Nothing happens on
        a stream that is over: the event that says so may not have been looked at. Raises Misuse behind an end.
        """
        known = self._streams.get(stream)
        if known is None:
            return
        if not known.sending:
            raise Misuse(f"headers behind the end of stream {stream}")
        if known.queued:
            if not end:
                raise Misuse(f"a head behind data of stream {stream}")
            known.trailers = fields
            known.never_indexed = never_indexed
            known.end_queued = True
            known.sending = False
            return
        self._put_headers(stream, fields, end, never_indexed)
        if end:
            self._sent_end(known)

    def send_data(self, stream: int, data: bytes, end: bool) -> None:
        """A piece of a body, as it is. What the windows do not allow is queued: see `queued` and Writable.

        Nothing happens on a stream that is over. Raises Misuse behind an end.
        """
        known = self._streams.get(stream)
        if known is None:
            return
        if not known.sending:
            raise Misuse(f"data behind the end of stream {stream}")
        size = len(data)
        if known.queued or (size and (size > known.send_window or size > self._send_window or size > self._frame_size)):
            self._queue(known, data, end)
            return
        if size:
            known.send_window -= size
            self._send_window -= size
        elif not end:
            return
        self._data_sent += 1 + (size >> 11)
        out = self._out
        out.append(frames.head(size, frames.DATA, frames.END_STREAM if end else 0, stream))
        if size:
            out.append(data)
        if end:
            self._sent_end(known)

    def _put_headers(self, stream: int, fields: list[Header], end: bool, never_indexed: list[bytes] | None) -> None:
        block = self._encoder.encode(fields, never_indexed)
        size = len(block)
        flags = frames.END_STREAM if end else 0
        out = self._out
        if size <= self._frame_size:
            out.append(frames.head(size, frames.HEADERS, flags | frames.END_HEADERS, stream))
            out.append(block)
            return
        limit = self._frame_size
        out.append(frames.head(limit, frames.HEADERS, flags, stream))
        out.append(block[:limit])
        for at in range(limit, size, limit):
            piece = block[at : at + limit]
            last = frames.END_HEADERS if at + limit >= size else 0
            out.append(frames.head(len(piece), frames.CONTINUATION, last, stream))
            out.append(piece)

    def _queue(self, known: Stream, data: bytes, end: bool) -> None:
        if known.queue is None:
            known.queue = deque()
        if data:
            known.queue.append(data)
            known.queued += len(data)
        if end:
            known.end_queued = True
            known.sending = False
        if self._blocked and self._send_window <= 0:
            self._blocked.setdefault(known.id, known)
        elif not self._drain(known, False):
            self._blocked[known.id] = known
        known.blocked = known.queued > 0

    def _drain(self, known: Stream, one_frame: bool) -> bool:
        """Send from the queue what the windows allow, or one frame of it. Whether the queue is empty now."""
        queue = known.queue
        assert queue is not None
        out = self._out
        while queue:
            first = queue[0]
            offset = known.offset
            rest = len(first) - offset
            size = min(rest, self._frame_size, known.send_window, self._send_window)
            if size <= 0:
                return False
            known.send_window -= size
            self._send_window -= size
            known.queued -= size
            self._data_sent += 1 + (size >> 11)
            last = known.end_queued and not known.queued and known.trailers is None
            out.append(frames.head(size, frames.DATA, frames.END_STREAM if last else 0, known.id))
            out.append(first if size == len(first) else first[offset : offset + size])
            if size == rest:
                queue.popleft()
                known.offset = 0
            else:
                known.offset = offset + size
            if last:
                self._ended(known)
            elif one_frame:
                break
        if queue:
            return False
        if known.trailers is not None:
            self._put_headers(known.id, known.trailers, True, known.never_indexed)
            known.trailers = None
            self._ended(known)
        return True

    def _flush(self) -> None:
        """Windows have opened: blocked streams take turns, a frame each, until nothing can be sent."""
        while self._blocked and self._send_window > 0:
            progress = False
            for known in list(self._blocked.values()):
                if known.send_window <= 0 or self._send_window <= 0:
                    continue
                progress = True
                # Behind the others, unless it is done.
                del self._blocked[known.id]
                if not self._drain(known, True):
                    self._blocked[known.id] = known
                if known.blocked and known.queued <= LOW_WATER:
                    known.blocked = False
                    if known.sending:
                        self._events.append(Writable(known.id))
            if not progress:
                return

    def _sent_end(self, known: Stream) -> None:
        known.sending = False
        self._ended(known)

    def _ended(self, known: Stream) -> None:
        """Our END_STREAM is out."""
        if not known.receiving:
            self._close(known)

    def _close(self, known: Stream) -> None:
        """The stream is over. What it had not consumed can not hold up the others."""
        del self._streams[known.id]
        if self._blocked:
            self._blocked.pop(known.id, None)
        known.queue = None
        known.queued = 0
        known.sending = known.receiving = False
        if known.unconsumed:
            self._return_credit(known.unconsumed)
            known.unconsumed = 0

    # What the peer may send

    def consumed(self, stream: int, octets: int) -> None:
        """The application is done with this much of what Data events gave (`Data.flow`); the peer may send it again.

        WINDOW_UPDATE goes out when half a window has come together.
        """
        known = self._streams.get(stream)
        if known is None or octets <= 0:
            return  # what a stream that is over had not consumed has been returned
        octets = min(octets, known.unconsumed)
        known.unconsumed -= octets
        self._return_credit(octets)
        if known.receiving:
            known.credit += octets
            if known.credit >= self._stream_credit_due:
                self._put_control(frames.window_update(stream, known.credit))
                known.receive_window += known.credit
                known.credit = 0

    def _return_credit(self, octets: int) -> None:
        self._credit += octets
        if self._credit >= self._credit_due:
            self._put_control(frames.window_update(0, self._credit))
            self._receive_window += self._credit
            self._credit = 0

    def _put_control(self, frame: bytes) -> None:
        self._out.append(frame)
        self._control += 1

    # What the peer lets us send

    def _window_grows(self, stream: int, increment: int) -> str:
        """WINDOW_UPDATE (6.9). Raises ConnectionBroken; returns what is wrong with the stream, or ""."""
        if stream == 0:
            if increment == 0:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            if self._send_window + increment > MAX_WINDOW:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            self._send_window += increment
        else:
            known = self._streams[stream]
            if increment == 0 or known.send_window + increment > MAX_WINDOW:
                return "WINDOW_UPDATE of nothing" if increment == 0 else "a window beyond 2^31-1"
            known.send_window += increment
        if self._blocked:
            self._flush()
        return ""

    def _initial_window_changes(self, octets: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE moves every stream's window, below zero if need be (6.9.2)."""
        delta = octets - self._initial_send_window
        self._initial_send_window = octets
        for known in self._streams.values():
            if known.send_window + delta > MAX_WINDOW:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            known.send_window += delta
        if self._blocked:
            self._flush()
