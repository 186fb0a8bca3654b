"""HEADERS, CONTINUATION and DATA -> events, as the stream's state, windows and length allow. RFC 9113 6.1, 6.2, 8.1."""

from collections.abc import Callable
from typing import Final

from sidecar.http.h2 import frames
from sidecar.http.h2.errors import ConnectionBroken, ErrorCode
from sidecar.http.h2.events import HEAD, INFORMATIONAL, TRAILERS, Data, Headers, Refused
from sidecar.http.h2.heads import has_body, read_request, read_response, read_trailers
from sidecar.http.h2.hpack_decoder import HeaderBomb, HpackError
from sidecar.http.h2.inbound import Inbound
from sidecar.http.h2.settings import MAX_WINDOW, Limits, Settings
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Header

_TOO_LARGE: Final[list[Header]] = [(b":status", b"431"), (b"content-length", b"0")]


class Messages(Inbound):
    """The half of `H2Connection` that reads messages; not used by itself."""

    def __init__(self, client: bool, settings: Settings, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(client, settings, limits, clock)
        self._block = bytearray()
        self._block_stream = 0
        """Whose CONTINUATION must follow; 0 for none."""
        self._block_end = False
        self._block_wrong = ""
        self._block_frames = 0

    # Data

    def _on_data(self, data: bytes, at: int, stop: int, flags: int, stream: int) -> None:
        size = stop - at
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        self._worked = True
        known = self._streams.get(stream)
        if known is None:
            self._stray(stream, frames.DATA)
            self._return_credit(size)
            return
        if flags & frames.PADDED:
            padding = data[at] if size else 0
            if padding >= size:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
            at += 1
            stop -= padding
        end = flags & frames.END_STREAM != 0
        octets = stop - at
        known.receive_window -= size
        known.unconsumed += size
        if not known.receiving:
            self._stream_error(known, ErrorCode.STREAM_CLOSED, "DATA behind the end")
            return
        if known.receive_window < 0:
            self._stream_error(known, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window")
            return
        if not known.headed or (known.bodiless and octets):
            self._stream_error(known, ErrorCode.PROTOCOL_ERROR, "DATA where there can be none")
            return
        if known.expected >= 0:
            known.expected -= octets
            if known.expected < 0 or (end and known.expected):
                self._stream_error(known, ErrorCode.PROTOCOL_ERROR, "content-length and DATA differ")
                return
        if octets == 0 and not end:
            if self._empty_data.exceeded(self._clock()):
                raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many empty DATA")
            if size:
                self.consumed(stream, size)
            return
        self._events.append(Data(stream, data[at:stop], size, end))
        if end:
            known.receiving = False
            if not known.sending and not known.queued:
                self._close(known)

    def _stray(self, stream: int, kind: int) -> None:
        """DATA or HEADERS on a stream that is over, or never was (5.1)."""
        what = "DATA" if kind == frames.DATA else "HEADERS"
        self._must_not_be_idle(stream, what)
        if stream in self._was_reset or stream > self._last_accepted:
            self._count_late()
            return
        if kind == frames.HEADERS and not self._client and self._highest_peer != 2 * self._opened - 1:
            # Numbers were left out, and this may be one of them: streams that are over are not remembered.
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a stream's number is below the last one's")
        raise ConnectionBroken(ErrorCode.STREAM_CLOSED, f"{what} on a stream that is over")

    # Header blocks

    def _on_headers(self, data: bytes, at: int, stop: int, flags: int, stream: int) -> None:
        if not stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream")
        self._worked = True
        wrong = ""
        if flags & (frames.PADDED | frames.PRIORITIZED):
            padding = 0
            if flags & frames.PADDED:
                padding = data[at] if stop > at else 256
                at += 1
            if flags & frames.PRIORITIZED:
                if int.from_bytes(data[at : at + 4], "big") & MAX_WINDOW == stream:
                    wrong = "a stream that depends on itself"
                at += 5
            stop -= padding
            if at > stop:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
        end = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            self._on_block(stream, data[at:stop], end, wrong)
            return
        self._block += data[at:stop]
        self._block_stream = stream
        self._block_end = end
        self._block_wrong = wrong
        self._block_frames = 0

    def _on_continuation(self, payload: bytes, flags: int) -> None:
        self._block_frames += 1
        if self._block_frames > self._limits.continuations:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATIONs")
        self._block += payload
        if len(self._block) > self._limits.header_block_octets:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            block = bytes(self._block)
            self._block.clear()
            stream = self._block_stream
            self._block_stream = 0
            self._on_block(stream, block, self._block_end, self._block_wrong)

    def _on_block(self, stream: int, block: bytes, end: bool, wrong: str) -> None:
        """Decoded whatever becomes of it: the table must follow."""
        decoder = self._decoder
        try:
            fields = decoder.decode(block)
        except HpackError as error:
            raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        except HeaderBomb as bomb:  # another name: mypyc gives a name one type in a function
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, str(bomb)) from None
        known = self._streams.get(stream)
        event = Headers(stream, fields, end, HEAD)
        if decoder.never_indexed is not None:
            event.never_indexed = decoder.never_indexed
        if known is None:
            if self._client or stream <= self._highest_peer:
                self._stray(stream, frames.HEADERS)
            else:
                self._on_request(event, wrong)
            return
        if not known.receiving:
            self._stream_error(known, ErrorCode.STREAM_CLOSED, "HEADERS behind the end")
            return
        if decoder.oversized:
            wrong = wrong or "header fields too many or too large"
        elif not wrong:
            if known.headed:
                event.kind = TRAILERS
                wrong = read_trailers(event, decoder.kinds, decoder.pseudo)
                if known.tunnel:
                    wrong = wrong or "HEADERS in a tunnel"
                if known.expected > 0:
                    wrong = wrong or "content-length and DATA differ"
            else:
                wrong = read_response(event, decoder.kinds, decoder.pseudo) or self._apply_response(known, event)
        if wrong:
            self._stream_error(known, ErrorCode.PROTOCOL_ERROR, wrong)
            return
        self._events.append(event)
        if end:
            known.receiving = False
            if not known.sending and not known.queued:
                self._close(known)

    def _on_request(self, event: Headers, wrong: str) -> None:
        """A stream that the client opens (5.1.1 and 5.1.2)."""
        stream = event.stream
        if not stream & 1:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even number")
        self._highest_peer = stream
        self._opened += 1
        if stream > self._last_accepted:
            self._count_late()  # behind our last GOAWAY (6.8): the client knows that nothing became of it
            return
        decoder = self._decoder
        code = ErrorCode.PROTOCOL_ERROR
        if len(self._streams) >= self._settings.max_concurrent_streams:
            wrong = wrong or "more streams than allowed"
            code = ErrorCode.REFUSED_STREAM
        elif decoder.oversized and not wrong:
            self._refuse_too_large(stream)
            return
        wrong = wrong or read_request(event, decoder.kinds, decoder.pseudo, self._settings.enable_connect_protocol)
        if wrong:
            self._put_reset(stream, code)
            self._events.append(Refused(stream, code, wrong, 0))
            self._count_reset()
            return
        known = Stream(stream, self._initial_send_window, self._own_initial)
        known.headed = True
        if event.end:
            known.receiving = False
        elif event.method == b"CONNECT":
            known.tunnel = True
        else:
            known.expected = event.length
        self._streams[stream] = known
        self._events.append(event)

    def _refuse_too_large(self, stream: int) -> None:
        """431 as HTTP/1.1 gets it (RFC 6585 5), then no more of the request."""
        self._put_headers(stream, _TOO_LARGE, True, None)
        self._put_reset(stream, ErrorCode.NO_ERROR)
        self._events.append(Refused(stream, ErrorCode.NO_ERROR, "header fields too many or too large", 431))
        self._count_reset()

    def _apply_response(self, known: Stream, event: Headers) -> str:
        """What the head says about what follows; why it can not be, or ""."""
        status = event.status
        if status < 200:
            known.informational += 1
            event.kind = INFORMATIONAL
            if event.end or known.informational > self._limits.informational:
                return "a 1xx head that ends the stream, or one too many"
            return ""
        known.headed = True
        if known.tunnel:
            if status < 300:
                return ""
            known.tunnel = False
        if not has_body(status):
            known.bodiless = True
        if known.bodiless:
            return ""
        if event.end and event.length > 0:
            return "content-length, and no body"
        known.expected = event.length
        return ""
