"""Bytes of a client -> request events. No I/O; what two readers could take for two things is refused."""

import re
from typing import Final

from sidecar.http import paths
from sidecar.http.errors import ProtocolError
from sidecar.http.h1_chunks import ChunkReader
from sidecar.http.h1_hop import understand_hop, understand_target
from sidecar.http.h1_lines import (
    CODEC_ERROR,
    HOST,
    MAX_TARGET_BYTES,
    METHODS,
    OURS,
    REQUEST_FIELDS,
    Special,
    request_line,
    request_line_begins,
    usual_request_line,
)
from sidecar.http.head import CHUNKED, END, End, Header, RequestHead, Trailers

RequestEvent = RequestHead | bytes | Trailers | End | ProtocolError

MAX_EARLY_BYTES: Final = 64 * 1024
"""What a client may send behind a request to switch protocols before it has the answer."""

MAX_EMPTY_LINES: Final = 1
"""Ignored before a request line (RFC 9112 2.2)."""

_MAX_LINE_BYTES: Final = MAX_TARGET_BYTES + 32
"""Of a request line: more can not be in order."""

_HEAD: Final = 0
_LENGTH: Final = 1
_CHUNKS: Final = 2
_ASKED: Final = 3  # to switch protocols; nothing is read before that is decided
_TUNNEL: Final = 4


class RequestReader:
    """Reads the requests of one connection, pipelined ones included.

    `receive` returns what the bytes completed: per request a RequestHead, body bytes, maybe Trailers, an End. A
    ProtocolError is always the last event of a connection: after it (and after a request with `close`) input is
    ignored.

    Memory: at most `max_header_bytes`, a target and MAX_EARLY_BYTES between calls; the events of one call are bounded
    by what it was fed.
    """

    __slots__ = (
        "_chunks",
        "_empty_lines",
        "_head_bytes",
        "_held",
        "_held_lines",
        "_last",
        "_left",
        "_max_header_bytes",
        "_max_headers",
        "_state",
        "_tunnels",
        "finished",
    )

    def __init__(self, *, max_header_bytes: int = 60 * 1024, max_headers: int = 100, tunnels: bool = False) -> None:
        """`tunnels`: requests to switch protocols and CONNECT are events, and `switch` or `decline` must follow their
        answer; otherwise they are refused with 403."""
        self._max_header_bytes = max_header_bytes
        self._max_headers = max_headers
        self._tunnels = tunnels
        self._state = _HEAD
        self._held = b""
        self._held_lines: list[bytes] = []
        self._head_bytes = 0
        self._empty_lines = 0
        self._left = 0
        self._chunks: ChunkReader | None = None
        self._last = False
        self.finished = False
        """No further request will be read."""

    @property
    def mid_head(self) -> bool:
        """A request has begun to arrive and its head is not whole."""
        return self._state == _HEAD and (bool(self._held) or bool(self._held_lines))

    def stop(self) -> None:
        """Ignore what follows: the connection closes after the request being read."""
        self.finished = True

    def switch(self) -> bytes:
        """The upgrade was granted: what came early; from now on `receive` hands over bytes as they come."""
        self._state = _TUNNEL
        early, self._held = self._held, b""
        return early

    def decline(self) -> list[RequestEvent]:
        """The answer was another than a switch of protocols. Behind a CONNECT nothing more is read: it is not known
        whether the client meant it for us. Otherwise the connection goes on with what came meanwhile."""
        self._state = _HEAD
        if self._last:
            self.finished = True
        early, self._held = self._held, b""
        return self.receive(early) if early else []

    def receive(self, data: bytes) -> list[RequestEvent]:
        """Feed bytes as they came; never raises."""
        events: list[RequestEvent] = []
        if self.finished:
            return events
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            self._read(data, events)
        except ProtocolError as error:
            self.finished = True
            self._held = b""
            self._held_lines = []
            # The traceback would keep what was fed in a cycle of references, until the collector comes.
            events.append(error.with_traceback(None))
        return events

    def _read(self, data: bytes, events: list[RequestEvent]) -> None:
        at = 0
        end = len(data)
        while at < end and not self.finished:
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
            elif state == _TUNNEL:
                events.append(data[at:])
                return
            else:
                if end - at > MAX_EARLY_BYTES:
                    raise ProtocolError(400, CODEC_ERROR, "too much before the answer to an upgrade")
                self._held = data[at:]
                return

    def _whole(self, events: list[RequestEvent]) -> None:
        self._state = _HEAD
        if self._last:
            self.finished = True
        events.append(END)

    # the head

    def _read_head(self, data: bytes, at: int, events: list[RequestEvent]) -> int:
        """Returns how far it came."""
        if self._held_lines:
            return self._read_lines(data, at, events)
        if not at and data[-4:] == b"\r\n\r\n" and data[-7:] != b"\r\n0\r\n\r\n":
            # By far the most frequent case: one head, nothing else. If it is not, `_head` meets an empty line.
            lines = data.split(b"\n")
            del lines[-2:]
            if self._head(lines, len(data) - 2, events, sole=True):
                return len(data)
        stop = data.find(b"\r\n\r\n", at)
        if stop < 0:
            return self._read_lines(data, at, events)
        lines = data[at : stop + 1].split(b"\n")
        while lines[0] == b"\r":
            self._skip_empty_line()
            if len(lines) == 1:
                return at + 2
            del lines[0]
        self._head(lines, stop + 2 - at, events, sole=False)
        return stop + 4

    def _read_lines(self, data: bytes, at: int, events: list[RequestEvent]) -> int:
        """The head comes in pieces: keep its lines, refuse early what can become no head."""
        lines = self._held_lines
        while True:
            cut = data.find(b"\n", at)
            if cut < 0:
                break
            line = data[at:cut]
            at = cut + 1
            if not lines:
                if line == b"\r":
                    self._skip_empty_line()
                    continue
                self._start(line)
            elif line == b"\r":
                self._held_lines = []
                octets, self._head_bytes = self._head_bytes, 0
                self._head(lines, octets, events, sole=False)
                return at
            else:
                self._check_size(len(lines), self._head_bytes + len(line) + 1 - len(lines[0]) - 1)
                if line not in REQUEST_FIELDS.young:
                    REQUEST_FIELDS.read(line)
            lines.append(line)
            self._head_bytes += len(line) + 1
        rest = data[at:]
        if not lines:
            if rest != b"\r":
                self._check_begin(rest)
        elif rest and rest != b"\r":
            self._check_size(len(lines), self._head_bytes + len(rest) - len(lines[0]) - 1)
        self._held = rest
        return len(data)

    def _skip_empty_line(self) -> None:
        self._empty_lines += 1
        if self._empty_lines > MAX_EMPTY_LINES:
            raise ProtocolError(400, CODEC_ERROR, "empty lines instead of a request")

    def _check_begin(self, rest: bytes) -> None:
        """Refuse at once what can become no request line, however it goes on."""
        if request_line_begins(rest[: _MAX_LINE_BYTES + 1]) is None:
            raise ProtocolError(400, CODEC_ERROR, "no request line")
        if len(rest) > _MAX_LINE_BYTES:
            raise ProtocolError(414, "http1.target_too_large", f"request target over {MAX_TARGET_BYTES} bytes")

    def _start(self, line: bytes) -> re.Match[bytes]:
        """The parts of a request line. Checks in this order, so that it is refused alike in pieces."""
        if len(line) > _MAX_LINE_BYTES:
            self._check_begin(line)
        match = request_line(line)
        if match is None:
            raise ProtocolError(400, CODEC_ERROR, "a malformed request line")
        if len(match[2]) > MAX_TARGET_BYTES:
            raise ProtocolError(414, "http1.target_too_large", f"request target over {MAX_TARGET_BYTES} bytes")
        if match[1] not in METHODS:
            raise ProtocolError(400, CODEC_ERROR, "not a method that we know")
        return match

    def _check_size(self, lines: int, octets: int) -> None:
        if lines > self._max_headers or octets > self._max_header_bytes:
            raise ProtocolError(431, "http1.headers_too_large", "too many or too large header fields")

    def _check_sizes(self, lines: list[bytes]) -> None:
        """Field by field, as they are checked when they come in pieces."""
        octets = 0
        for count, line in enumerate(lines):
            octets += len(line) + 1
            self._check_size(count + 1, octets)
            REQUEST_FIELDS.read(line)

    def _head(self, lines: list[bytes], octets: int, events: list[RequestEvent], *, sole: bool) -> bool:
        """`octets`: what the lines took on the wire. `sole`: they may be more than one head; then nothing is done and
        the answer is False."""
        first = lines[0]
        target: bytes
        match = usual_request_line(first)
        usual = match is not None
        if match is not None:
            method, target = match.groups()
            minor = b"1"
        else:
            if first == b"\r" and sole:
                return False
            match = self._start(first)
            method, target, minor = match.groups()
        if len(first) > MAX_TARGET_BYTES or method not in METHODS:
            self._start(first)
        del lines[0]
        if octets > self._max_header_bytes or len(lines) > self._max_headers:
            if sole:
                return False
            self._check_sizes(lines)
        headers: list[Header] = []
        ours: dict[bytes, bytes] = {}
        hop: list[Special] | None = None
        host: bytes | None = None
        young = REQUEST_FIELDS.young
        for line in lines:
            field = young.get(line)
            if field is None:
                if sole and line == b"\r":
                    return False
                field = REQUEST_FIELDS.read(line)
            if not isinstance(field, Special):
                headers.append(field)
            elif field.kind == OURS:
                name = field.name
                if name in ours:
                    ours[name] += b"," + field.value
                else:
                    ours[name] = field.value
            elif field.kind == HOST:
                if host is not None:
                    raise ProtocolError(400, "http1.multiple_hosts", "more than one Host")
                host = field.value
            elif hop is None:
                hop = [field]
            else:
                hop.append(field)
        head = RequestHead(method, target, b"" if host is None else host, headers, b"http", "HTTP/1.1", 0, False, ours)
        if minor != b"1":
            head.version = "HTTP/1.0"
            head.close = True
        if hop is not None:
            understand_hop(head, hop)
        if not usual or host is None:
            understand_target(head, host)
        if not usual or target.find(b"/.") >= 0:  # `in` would make an exception first: bytes are no integer
            head.target = paths.normalize(head.target)
        self._empty_lines = 0
        if head.close:
            self._last = True
        events.append(head)
        length = head.length
        if head.upgrade is not None or head.method == b"CONNECT":
            self._ask(head, events)
        elif length == 0:
            if self._last:
                self.finished = True
            events.append(END)
        elif length == CHUNKED:
            self._state = _CHUNKS
            if self._chunks is None:
                self._chunks = ChunkReader(REQUEST_FIELDS)
            else:
                self._chunks.begin()
        else:
            self._state = _LENGTH
            self._left = length
        return True

    def _ask(self, head: RequestHead, events: list[RequestEvent]) -> None:
        """It wants to leave HTTP: nothing is read before that is decided."""
        if head.method == b"CONNECT" and head.target:
            events.pop()
            raise ProtocolError(400, "http1.invalid_url", "CONNECT to a path")
        if head.length:
            events.pop()
            raise ProtocolError(400, "http1.upgrade_with_body", "a body before a switch of protocols")
        if not self._tunnels:
            events.pop()
            raise ProtocolError(403, "upgrade_failed", "CONNECT and protocol upgrades are not offered")
        if head.method == b"CONNECT":
            head.upgrade = b"connect"
            self._last = True
        self._state = _ASKED
        events.append(END)
