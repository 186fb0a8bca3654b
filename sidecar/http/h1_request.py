"""Bytes of a client -> request events. No I/O; llhttp does the grammar, this refuses what llhttp lets pass."""

from typing import Any

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from sidecar.http import fields
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
    always the last event of a connection: after it (and after a request with `close`) input is ignored.
    """

    def __init__(self, *, max_header_bytes: int = 60 * 1024, max_headers: int = 100) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_headers = max_headers
        self._parser: Any = HttpRequestParser(self)
        self._events: list[RequestEvent] = []
        self._target = b""
        self._headers: list[Header] = []
        self._hop: list[Header] = []
        self._ours: dict[bytes, bytes] | None = None
        self._head_bytes = 0
        self._head_fed = 0
        self._in_body = False
        self._framing_bytes = 0
        self._last = False
        self.finished = False
        """No further request will be read."""

    @property
    def mid_head(self) -> bool:
        """A request has begun to arrive and its head is not whole."""
        return self._head_fed > 0

    def receive(self, data: bytes) -> list[RequestEvent]:
        """Feed bytes as they came; never raises."""
        if self.finished:
            return []
        events = self._events = []
        in_body = self._in_body
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._upgrade(data, upgrade.args[0])
            return self._events
        except ProtocolError as error:
            self._fail(error)
        except HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, ProtocolError):
                self._fail(cause)
            elif not self.finished:
                self._fail(_refusal(error))
            return events
        if self._in_body:
            if in_body:
                self._count_framing(data, events)
        elif not events or events[-1].__class__ is not End:
            # The head is not whole: what it may take is bounded even where llhttp has not called back yet.
            self._head_fed += len(data)
            if self._head_fed > self._max_header_bytes + MAX_TARGET_BYTES:
                self._fail(ProtocolError(431, "http1.headers_too_large", "the head does not end"))
        return events

    def _count_framing(self, data: bytes, events: list[RequestEvent]) -> None:
        """Bytes inside a chunked body that are no data: sizes, extensions, trailers."""
        self._framing_bytes += len(data) - sum(len(event) for event in events if event.__class__ is bytes)
        if self._framing_bytes > MAX_FRAMING_BYTES:
            self._fail(ProtocolError(400, _CODEC_ERROR, "chunk extensions or trailers without end"))

    def _fail(self, error: ProtocolError) -> None:
        self.finished = True
        self._head_fed = 0
        self._events.append(error)

    def _upgrade(self, data: bytes, offset: int) -> None:
        """llhttp stopped behind a head that asks for another protocol. h2c is ignored, as RFC 9110 7.8 allows."""
        if self.finished:
            return
        events = self._events
        self._parser = HttpRequestParser(self)
        rest = data[offset:]
        if rest:
            events.extend(self.receive(rest))
            self._events = events

    # llhttp's callbacks

    def on_url(self, target: bytes) -> None:
        self._target += target
        if len(self._target) > MAX_TARGET_BYTES:
            raise ProtocolError(414, "http1.target_too_large", f"request target over {MAX_TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if name in _SPECIAL:
            self._special(name, value.strip())
        else:
            self._headers.append((name, value.strip()))

    def _special(self, name: bytes, value: bytes) -> None:
        if name in fields.HOP:
            self._hop.append((name, value))
            return
        ours = self._ours
        if ours is None:
            self._ours = {name: value}
        elif name in ours:
            ours[name] += b"," + value
        else:
            ours[name] = value

    def on_headers_complete(self) -> None:
        headers = self._headers
        hop = self._hop
        target = self._target
        if self._head_bytes > self._max_header_bytes or len(headers) + len(hop) > self._max_headers:
            raise ProtocolError(431, "http1.headers_too_large", "too many or too large header fields")
        self._headers = []
        self._hop = []
        self._target = b""
        self._head_bytes = 0
        self._head_fed = 0
        parser = self._parser
        method = parser.get_method()
        head = RequestHead(method, target, b"", headers, ours=self._ours)
        self._ours = None
        if parser.get_http_version() != "1.1":
            _check_version(parser.get_http_version(), head)
        if method in _REFUSED_METHODS:
            raise ProtocolError(*_REFUSED_METHODS[method])
        host = _understand(head, hop)
        if target[:1] == b"/":
            if host is None:
                raise ProtocolError(400, "http1.missing_host", "no Host")
            head.authority = host
        elif target == b"*":
            if method != b"OPTIONS" or host is None:
                raise ProtocolError(400, "http1.invalid_url", "the target * is for OPTIONS alone")
            head.authority = host
        else:
            # RFC 9112 3.2.2: the target's authority replaces Host, whatever Host says.
            head.scheme, head.authority, head.target = fields.split_absolute(target)
        if b"#" in target:
            raise ProtocolError(400, "http1.path_with_fragment", "the request target has a fragment")
        self._in_body = head.length != 0
        self._last = head.close
        self._framing_bytes = 0
        self._events.append(head)

    def on_body(self, data: bytes) -> None:
        self._events.append(data)

    def on_chunk_header(self) -> None:
        self._framing_bytes -= 32

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._last:
            self.finished = True
        if self._head_bytes:
            if len(self._headers) + len(self._hop) > self._max_headers:
                raise ProtocolError(431, "http1.trailers_too_large", "too many trailers")
            self._events.append(End(fields.safe_trailers(self._headers)))
            self._headers = []
            self._hop = []
            self._ours = None
            self._head_bytes = 0
        else:
            self._events.append(END)

    def stop(self) -> None:
        """Ignore what follows: the connection closes after the request being read."""
        self.finished = True


_SPECIAL = fields.REQUEST_SPECIAL

_REFUSED_METHODS = {
    b"CONNECT": (403, "upgrade_failed", "CONNECT is not offered"),
    b"PRI": (400, _CODEC_ERROR, "HTTP/2 preface on an HTTP/1.1 connection"),
    b"SOURCE": (400, _CODEC_ERROR, "not an HTTP method"),
}


def _refusal(error: HttpParserError) -> ProtocolError:
    if isinstance(error, HttpParserInvalidMethodError):
        return ProtocolError(400, _CODEC_ERROR, "invalid method")
    return ProtocolError(400, _CODEC_ERROR, str(error))


def _check_version(version: str, head: RequestHead) -> None:
    if version != "1.0":
        raise ProtocolError(400, _CODEC_ERROR, f"HTTP/{version} is not spoken here")
    head.version = "HTTP/1.0"
    head.close = True


def _understand(head: RequestHead, hop: list[Header]) -> bytes | None:
    """Set what the hop's fields say on `head`; return Host's value. Raises ProtocolError."""
    host: bytes | None = None
    continues = False
    for name, value in hop:
        if name == b"host":
            if host is not None:
                raise ProtocolError(400, "http1.multiple_hosts", "more than one Host")
            host = fields.authority(value)
        elif name == b"content-length":
            head.length = int(value)  # llhttp has refused repetition, signs, lists and overflow
        elif name == b"transfer-encoding":
            _set_chunked(head, value)
        elif name == b"connection" or name == b"proxy-connection":
            _set_connection(head, value)
        elif name == b"upgrade":
            _refuse_upgrade(head, value, hop)
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise ProtocolError(417, "http1.unknown_expectation", "an expectation other than 100-continue")
            continues = True
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
    tokens = fields.list_tokens(value)
    if b"close" in tokens:
        head.close = True
    named = [token for token in tokens if token not in (b"close", b"keep-alive")]
    if named:
        head.headers[:] = fields.without_named(head.headers, named)


def _refuse_upgrade(head: RequestHead, value: bytes, hop: list[Header]) -> None:
    asks = any(name == b"connection" and b"upgrade" in fields.list_tokens(text) for name, text in hop)
    if not asks:
        return
    if any(token != b"h2c" for token in fields.list_tokens(value)) or any(
        name in (b"content-length", b"transfer-encoding") and text != b"0" for name, text in hop
    ):
        raise ProtocolError(403, "upgrade_failed", "protocol upgrades are not offered")
