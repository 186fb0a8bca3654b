"""Bytes of an upstream -> response events. No I/O; what an upstream gets wrong ends its connection, not ours."""

from typing import Any, Final

from sidecar.http import fields
from sidecar.http.errors import IncompleteMessage, ProtocolError
from sidecar.http.h1_chunks import ChunkReader
from sidecar.http.h1_lines import CODEC_ERROR, DATE, DROPPED, LENGTH, RESPONSE_FIELDS, Special, status_line
from sidecar.http.head import CHUNKED, END, UNTIL_CLOSE, End, Header, ResponseHead, Trailers

ResponseEvent = ResponseHead | bytes | Trailers | End | ProtocolError

MAX_HEADER_BYTES: Final = 60 * 1024
MAX_HEADERS: Final = 100
MAX_REASON_BYTES: Final = 1024
MAX_INFORMATIONAL: Final = 16
"""1xx answers to one request; more is an upstream out of its mind."""

_MEMORY_LINES: Final = 128
_MEMORY_LINE_BYTES: Final = 64
_STATUSES: Final[dict[bytes, int]] = {}
"""Status lines of HTTP/1.1 as upstreams word them -> status: the first so many that are seen are matched once."""

_HEAD: Final = 0
_LENGTH: Final = 1
_CHUNKS: Final = 2
_REST: Final = 3  # until the connection's end: a body without length, or a tunnel
_NOTHING: Final = 4  # was asked for


class ResponseReader:
    """Reads the answers on one upstream connection, one request at a time.

    Call `expect` before each request. `receive` returns its events; the answer's last is End or a ProtocolError (502).
    `reusable` tells whether another request may use the connection: nothing came that was not asked for. A switch of
    protocols that was asked for is a head with `upgrade` (of CONNECT: with a status of 2xx), then bytes as they come.

    Memory: at most MAX_HEADER_BYTES and MAX_REASON_BYTES between calls.
    """

    __slots__ = (
        "_began",
        "_chunks",
        "_connects",
        "_head_bytes",
        "_headless",
        "_held",
        "_held_lines",
        "_informational",
        "_left",
        "_state",
        "_upgrade",
        "reusable",
    )

    def __init__(self) -> None:
        self._state = _NOTHING
        self._began = False  # and broke off
        self._held = b""
        self._held_lines: list[bytes] = []
        self._head_bytes = 0
        self._informational = 0
        self._headless = False  # the answer to HEAD
        self._connects = False
        self._upgrade: bytes | None = None
        self._left = 0
        self._chunks: ChunkReader | None = None
        self.reusable = True

    def expect(self, method: bytes, upgrade: bytes | None = None) -> None:
        """A request with this method is being sent; `upgrade`: the protocol that it asks for."""
        self._headless = method == b"HEAD"
        self._connects = method == b"CONNECT"
        self._upgrade = upgrade
        self._state = _HEAD
        self._began = False
        self._informational = 0

    @property
    def answering(self) -> bool:
        """Bytes of the present answer have come, and not its end."""
        state = self._state
        if state == _HEAD:
            return bool(self._held) or bool(self._held_lines) or self._informational > 0
        return self._began or state != _NOTHING

    def receive(self, data: bytes) -> list[ResponseEvent]:
        """Feed bytes as they came; never raises."""
        events: list[ResponseEvent] = []
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            self._read(data, events)
        except ProtocolError as error:
            self._drop()
            events.append(ProtocolError(502, error.details, error.reason))
        return events

    def end_of_stream(self) -> list[ResponseEvent]:
        """The upstream closed: that ends an answer without length, and breaks any other."""
        self.reusable = False
        state = self._state
        self._drop()
        if state == _NOTHING:
            return []
        if state == _REST:
            return [END]
        return [IncompleteMessage("the upstream closed inside its answer")]

    def _drop(self) -> None:
        self._began = self.answering
        self.reusable = False
        self._state = _NOTHING
        self._held = b""
        self._held_lines = []

    def _read(self, data: bytes, events: list[ResponseEvent]) -> None:
        # RequestReader reads bodies in the same words: shared, they would cost both a call and a state for each piece.
        at = 0
        end = len(data)
        while at < end:
            state = self._state
            if state == _HEAD:
                at = self._read_head(data, at, events)
            elif state == _LENGTH:
                left = self._left - (end - at)
                if left > 0:
                    self._left = left
                    events.append(data[at:] if at else data)
                    return
                stop = end + left
                events.append(data[at:stop] if at or left else data)
                at = stop
                self._whole(events)
            elif state == _CHUNKS:
                chunks = self._chunks
                assert chunks is not None
                at = chunks.read(data, at, events)
                if chunks.whole:
                    self._whole(events)
                else:
                    self._held = data[at:]
                    return
            elif state == _REST:
                events.append(data[at:] if at else data)
                return
            else:
                # More than the answer, or an answer to nothing.
                self.reusable = False
                return

    def _whole(self, events: list[ResponseEvent]) -> None:
        self._state = _NOTHING
        events.append(END)

    # the head

    def _read_head(self, data: bytes, at: int, events: list[ResponseEvent]) -> int:
        """Returns how far it came."""
        stop = -1 if self._held_lines else data.find(b"\r\n\r\n", at)
        if stop < 0:
            return self._read_lines(data, at, events)
        lines = data[at : stop + 1].split(b"\n")
        self._head(lines, stop + 2 - at, events)
        return stop + 4

    def _read_lines(self, data: bytes, at: int, events: list[ResponseEvent]) -> int:
        """The head comes in pieces: keep its lines, refuse early what can become no head."""
        lines = self._held_lines
        while True:
            cut = data.find(b"\n", at)
            if cut < 0:
                break
            line = data[at:cut]
            at = cut + 1
            if not lines:
                if status_line(line) is None:
                    raise ProtocolError(502, CODEC_ERROR, "a malformed status line")
            elif line == b"\r":
                self._held_lines = []
                octets, self._head_bytes = self._head_bytes, 0
                self._head(lines, octets, events)
                return at
            elif line not in RESPONSE_FIELDS.young:
                RESPONSE_FIELDS.read(line)
            lines.append(line)
            self._head_bytes += len(line) + 1
        rest = data[at:]
        if b"\r" in rest[:-1]:
            raise ProtocolError(502, CODEC_ERROR, "a bare CR")
        if not lines and not rest.startswith(b"HTTP/1."[: len(rest)]):
            raise ProtocolError(502, CODEC_ERROR, "no status line")
        octets = self._head_bytes + (0 if rest == b"\r" else len(rest))
        if len(lines) > MAX_HEADERS + 1 or octets > MAX_HEADER_BYTES + MAX_REASON_BYTES:
            raise ProtocolError(502, "http1.headers_too_large", "too many or too large header fields")
        self._held = rest
        return len(data)

    def _head(self, lines: list[bytes], octets: int, events: list[ResponseEvent]) -> None:
        """`octets`: what the lines took on the wire."""
        first = lines[0]
        status: int = _STATUSES.get(first, 0)
        current = status != 0
        if not current:
            match = status_line(first)
            if match is None:
                raise ProtocolError(502, CODEC_ERROR, "a malformed status line")
            minor, digits = match.groups()
            status = int(digits)
            current = minor == b"1"
            if current and len(first) <= _MEMORY_LINE_BYTES and len(_STATUSES) < _MEMORY_LINES:
                _STATUSES[first] = status
        if octets > MAX_HEADER_BYTES + MAX_REASON_BYTES or len(lines) > MAX_HEADERS + 1:
            raise ProtocolError(502, "http1.headers_too_large", "too many or too large header fields")
        del lines[0]
        headers: list[Header] = []
        head = ResponseHead(status, headers, "HTTP/1.1", UNTIL_CLOSE)
        if not current:
            head.version = "HTTP/1.0"
            head.close = True
        lengths = 0
        hop: list[Special] | None = None
        young = RESPONSE_FIELDS.young
        for line in lines:
            field = young.get(line)
            if field is None:
                field = RESPONSE_FIELDS.read(line)
            if not isinstance(field, Special):
                headers.append(field)
            elif field.kind == DROPPED:
                pass
            elif field.kind == LENGTH:
                head.length = field.number
                lengths += 1
            elif field.kind == DATE:
                if not head.dated:
                    headers.append(field.header)
                    head.dated = True
            elif hop is None:
                hop = [field]
            else:
                hop.append(field)
        if hop is not None:
            lengths += _understand_hop(head, hop)
        if lengths > 1:
            raise ProtocolError(502, "http1.ambiguous_length", "more than one Content-Length or Transfer-Encoding")
        if status < 200:
            self._inform(head, events)
            return
        if self._connects and status < 300:
            # RFC 9110 9.3.6: what is said of a length means nothing.
            head.length = UNTIL_CLOSE
            head.upgrade = b"connect"
            self._state = _REST
            events.append(head)
            return
        events.append(head)
        length = head.length
        if self._headless or status == 204 or status == 304 or length == 0:
            self._whole(events)
        elif length > 0:
            self._state = _LENGTH
            self._left = length
        elif length == CHUNKED:
            self._state = _CHUNKS
            if self._chunks is None:
                self._chunks = ChunkReader(RESPONSE_FIELDS)
            else:
                self._chunks.begin()
        else:
            head.close = True
            self._state = _REST

    def _inform(self, head: ResponseHead, events: list[Any]) -> None:
        status = head.status
        if status == 101:
            if self._upgrade is None or head.upgrade is None or head.upgrade not in fields.list_tokens(self._upgrade):
                raise ProtocolError(502, CODEC_ERROR, "status 101, which nobody asked for")
            head.length = UNTIL_CLOSE
            self._state = _REST
            events.append(head)
            return
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError(502, CODEC_ERROR, f"more than {MAX_INFORMATIONAL} informational answers")
        head.length = 0
        head.upgrade = None
        events.append(head)


def _understand_hop(head: ResponseHead, hop: list[Special]) -> int:
    """Set what the hop's fields say on `head`; returns how many of them give a length. Raises ProtocolError."""
    lengths = 0
    for field in hop:
        name = field.name
        value = field.value
        if name == b"connection":
            if value != b"keep-alive":
                _set_connection(head, value)
        elif name == b"keep-alive":
            head.keep_alive_s = _keep_alive_timeout(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or head.version != "HTTP/1.1":
                raise ProtocolError(502, "http1.invalid_transfer_encoding", "a Transfer-Encoding other than chunked")
            head.length = CHUNKED
            lengths += 1
        elif name == b"upgrade" and head.status == 101:
            head.upgrade = value.lower()
    return lengths


def _set_connection(head: ResponseHead, value: bytes) -> None:
    tokens = fields.list_tokens(value)
    if b"close" in tokens:
        head.close = True
    named = [token for token in tokens if token not in _OPTIONS]
    if named:
        head.headers[:] = fields.without_named(head.headers, named)


_OPTIONS: Final = frozenset([b"close", b"keep-alive", b"upgrade"])


def _keep_alive_timeout(value: bytes) -> float | None:
    for token in fields.list_tokens(value):
        name, _, number = token.partition(b"=")
        if name.strip() == b"timeout" and number.strip().isdigit() and len(number) < 8:
            return float(number)
    return None
