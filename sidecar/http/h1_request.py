"""Bytes of a client -> request events. No I/O; llhttp does the grammar, this refuses what llhttp lets pass."""

from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sidecar.http import fields, paths
from sidecar.http.errors import ProtocolError
from sidecar.http.head import CHUNKED, END, End, Header, RequestHead

RequestEvent = RequestHead | bytes | End | ProtocolError

MAX_TARGET_BYTES = 16 * 1024
"""A longer request target is answered 414."""

MAX_FRAMING_BYTES = 8 * 1024
"""Chunk extensions and trailers of one body, over 32 bytes per chunk; more is a malformed message."""

_CODEC_ERROR = "http1.codec_error"


class RequestReader:
    """Reads the requests of one connection, pipelined ones included.

    `receive` returns what the bytes completed: per request a RequestHead, body bytes, an End. A ProtocolError is
    always the last event of a connection: after it (and after a request with `close`) input is ignored. Trailers are
    read and dropped, as Envoy does unless told otherwise: none can set what the head has decided.
    """

    def __init__(self, *, max_header_bytes: int = 60 * 1024, max_headers: int = 100) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_headers = max_headers
        self._events: list[RequestEvent] = []
        self._target = b""
        self._headers: list[Header] = []
        self._hop: list[Header] = []
        self._ours: dict[bytes, bytes] = {}
        self._fed = 0
        self._head_fed = 0
        self._in_body = False
        self._framing_bytes = 0
        self._last = False
        self.finished = False
        """No further request will be read."""
        self.on_header = _collector(self._headers, self._hop, self._ours)
        self._restart()

    def _restart(self) -> None:
        self._parser: Any = HttpRequestParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    @property
    def mid_head(self) -> bool:
        """A request has begun to arrive and its head is not whole."""
        return self._head_fed > 0

    def stop(self) -> None:
        """Ignore what follows: the connection closes after the request being read."""
        self.finished = True

    def receive(self, data: bytes) -> list[RequestEvent]:
        """Feed bytes as they came; never raises."""
        if self.finished:
            return []
        events = self._events = []
        in_body = self._in_body
        self._fed = len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade, ProtocolError) as error:
            self._stopped(data, error)
            return events
        if not events or events[-1] is not END:
            self._bound(data, in_body)
        return events

    def _stopped(self, data: bytes, error: HttpParserError | HttpParserUpgrade | ProtocolError) -> None:
        """llhttp, or a callback of ours, refused to go on."""
        if isinstance(error, HttpParserUpgrade):
            if not self.finished:
                self._ignore_upgrade(data[error.args[0] :])
            return
        cause = error if isinstance(error, ProtocolError) else error.__context__
        if isinstance(cause, ProtocolError):
            self._fail(cause)
        elif not self.finished:
            self._fail(ProtocolError(400, _CODEC_ERROR, str(error)))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """RFC 9110 7.8: h2c may be ignored. llhttp has stopped behind the head; a new one reads on."""
        events = self._events
        self._restart()
        if rest:
            events += self.receive(rest)
            self._events = events

    def _bound(self, data: bytes, in_body: bool) -> None:
        """The request is not whole: what it may take is bounded even where llhttp has nothing to call back about."""
        if not self._in_body:
            self._head_fed += len(data)
            if self._head_fed > self._max_header_bytes + MAX_TARGET_BYTES:
                self._fail(ProtocolError(431, "http1.headers_too_large", "the head does not end"))
        elif in_body:
            # Sizes, extensions and trailers of a chunked body; nothing with a known length.
            self._framing_bytes += len(data) - sum(len(event) for event in self._events if event.__class__ is bytes)
            if self._framing_bytes > MAX_FRAMING_BYTES:
                self._fail(ProtocolError(400, _CODEC_ERROR, "chunk extensions or trailers without end"))

    def _fail(self, error: ProtocolError) -> None:
        self.finished = True
        self._head_fed = 0
        self._events.append(error)

    # llhttp's callbacks

    def on_url(self, target: bytes) -> None:
        if self._target:
            target = self._target + target
        self._target = target
        if len(target) > MAX_TARGET_BYTES:
            raise ProtocolError(414, "http1.target_too_large", f"request target over {MAX_TARGET_BYTES} bytes")

    def on_headers_complete(self) -> None:
        parser = self._parser
        hop = self._hop
        target = self._target
        method = parser.get_method()
        headers = self._headers.copy()
        head = RequestHead(method, target, b"", headers, b"http", "HTTP/1.1", 0, False, self._ours.copy())
        if len(headers) + len(hop) > self._max_headers or self._fed + self._head_fed > self._max_header_bytes:
            self._check_size()
        if not parser.should_keep_alive():
            _check_version(parser, head)
        if method in _REFUSED_METHODS:
            raise ProtocolError(*_REFUSED_METHODS[method])
        if len(hop) == 1 and hop[0][0] == b"host":
            host: bytes | None = fields.authority(hop[0][1])
        else:
            _check_version(parser, head)
            host = _understand_hop(head, hop)
        if target[:1] != b"/" or b"#" in target:
            _understand_target(head, host)
        elif host is None:
            raise ProtocolError(400, "http1.missing_host", "no Host")
        else:
            head.authority = host
        if paths.is_odd(target):
            head.target = paths.normalize(head.target)
        self._headers.clear()
        self._ours.clear()
        hop.clear()
        self._target = b""
        self._head_fed = 0
        if head.length:
            self._in_body = True
            self._framing_bytes = 0
        if head.close:
            self._last = True
        self._events.append(head)

    def _check_size(self) -> None:
        everything = [*self._headers, *self._hop, *self._ours.items()]
        size = sum(len(name) + len(value) + 4 for name, value in everything)
        if size > self._max_header_bytes or len(everything) > self._max_headers:
            raise ProtocolError(431, "http1.headers_too_large", "too many or too large header fields")

    def on_body(self, data: bytes) -> None:
        self._events.append(data)

    def on_chunk_header(self) -> None:
        self._framing_bytes -= 32

    def on_message_complete(self) -> None:
        if self._in_body:
            self._in_body = False
            self._headers.clear()  # of trailers
            self._hop.clear()
            self._ours.clear()
        if self._last:
            self.finished = True
        self._events.append(END)


def _collector(headers: list[Header], hop: list[Header], ours: dict[bytes, bytes]) -> Callable[[bytes, bytes], None]:
    """llhttp's `on_header`: sorts fields by who answers for them. A closure: it runs once per field."""
    special, ends_here = fields.REQUEST_SPECIAL, fields.HOP
    collect, collect_hop = headers.append, hop.append

    def on_header(name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in special:
            collect((name, value.strip()))
        elif name in ends_here:
            collect_hop((name, value.strip()))
        elif name in ours:
            ours[name] += b"," + value.strip()
        else:
            ours[name] = value.strip()

    return on_header


_RTSP = b"DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH".split()
_REFUSED_METHODS = {
    **dict.fromkeys(_RTSP, (400, _CODEC_ERROR, "a method of RTSP")),
    b"CONNECT": (403, "upgrade_failed", "CONNECT is not offered"),
    b"PRI": (400, _CODEC_ERROR, "HTTP/2 preface on an HTTP/1.1 connection"),
    b"SOURCE": (400, _CODEC_ERROR, "not an HTTP method"),
}


def _check_version(parser: Any, head: RequestHead) -> None:
    version = parser.get_http_version()
    if version == "1.1":
        return
    if version != "1.0":
        raise ProtocolError(400, _CODEC_ERROR, "a version other than HTTP/1.1 and HTTP/1.0")
    head.version = "HTTP/1.0"
    head.close = True


def _understand_target(head: RequestHead, host: bytes | None) -> None:
    target = head.target
    if b"#" in target:
        raise ProtocolError(400, "http1.path_with_fragment", "the request target has a fragment")
    if target == b"*":
        if head.method != b"OPTIONS" or host is None:
            raise ProtocolError(400, "http1.invalid_url", "the target * is for OPTIONS alone")
        head.authority = host
    else:
        # RFC 9112 3.2.2: the target's authority replaces Host, whatever Host says.
        head.scheme, head.authority, head.target = fields.split_absolute(target)


def _understand_hop(head: RequestHead, hop: list[Header]) -> bytes | None:
    """Set what the hop's fields say on `head`; return Host's value. Raises ProtocolError."""
    host: bytes | None = None
    lengths = 0
    continues = False
    for name, value in hop:
        if name == b"host":
            if host is not None:
                raise ProtocolError(400, "http1.multiple_hosts", "more than one Host")
            host = fields.authority(value)
        elif name == b"content-length":
            head.length = int(value)  # llhttp has refused repetition, signs, lists and overflow
            lengths += 1
        elif name == b"transfer-encoding":
            _set_chunked(head, value)
            lengths += 1
        elif name in (b"connection", b"proxy-connection"):
            _set_connection(head, value)
        elif name == b"upgrade":
            _refuse_upgrade(value, hop)
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise ProtocolError(417, "http1.unknown_expectation", "an expectation other than 100-continue")
            continues = True
    if lengths > 1:
        raise ProtocolError(400, "http1.ambiguous_length", "more than one Content-Length or Transfer-Encoding")
    if continues:
        head.headers.append((b"expect", b"100-continue"))
    return host


def _set_chunked(head: RequestHead, value: bytes) -> None:
    if head.version != "HTTP/1.1":
        raise ProtocolError(400, "http1.transfer_encoding_not_allowed", "Transfer-Encoding in HTTP/1.0")
    if value.lower() != b"chunked":
        raise ProtocolError(501, "http1.invalid_transfer_encoding", "a Transfer-Encoding other than chunked")
    head.length = CHUNKED


def _set_connection(head: RequestHead, value: bytes) -> None:
    if value == b"keep-alive":
        return
    tokens = fields.list_tokens(value)
    if b"close" in tokens:
        head.close = True
    named = [token for token in tokens if token not in (b"close", b"keep-alive")]
    if named:
        head.headers[:] = fields.without_named(head.headers, named)


def _refuse_upgrade(value: bytes, hop: list[Header]) -> None:
    """Raise unless the upgrade can be ignored: h2c on a request without a body (llhttp stops at its head)."""
    asks = any(name == b"connection" and b"upgrade" in fields.list_tokens(text) for name, text in hop)
    if not asks:
        return
    if any(token != b"h2c" for token in fields.list_tokens(value)) or any(
        name in (b"content-length", b"transfer-encoding") and text != b"0" for name, text in hop
    ):
        raise ProtocolError(403, "upgrade_failed", "protocol upgrades are not offered")
