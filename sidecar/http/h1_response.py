"""Bytes of an upstream -> response events. No I/O; what an upstream gets wrong ends its connection, not ours."""

from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidecar.http import fields
from sidecar.http.errors import IncompleteMessage, ProtocolError
from sidecar.http.head import CHUNKED, END, UNTIL_CLOSE, End, Header, ResponseHead

ResponseEvent = ResponseHead | bytes | End | ProtocolError

MAX_HEADER_BYTES = 60 * 1024
MAX_HEADERS = 100
MAX_INFORMATIONAL = 16
"""1xx answers to one request; more is an upstream out of its mind."""

MAX_FRAMING_BYTES = 8 * 1024
"""Chunk extensions and trailers of one body, over 32 bytes per chunk."""

_DETAILS = "http1.codec_error"
_UNDERSTOOD = frozenset([b"transfer-encoding", b"connection", b"keep-alive"])


class ResponseReader:
    """Reads the answers on one upstream connection, one request at a time.

    Call `expect` before each request. `receive` returns its events; the answer's last is End or a ProtocolError.
    `reusable` tells whether another request may use the connection: nothing came that was not asked for. Trailers are
    dropped.
    """

    def __init__(self) -> None:
        self._events: list[ResponseEvent] = []
        self._headers: list[Header] = []
        self._hop: list[Header] = []
        self._fed = 0
        self._head_fed = 0
        self._framing_bytes = 0
        self._informational = 0
        self._waiting = False
        self._headless = False  # the answer to HEAD
        self._length = 0
        self._in_body = False
        self.reusable = True
        self.on_header = _collector(self._headers, self._hop)
        self._restart()

    def _restart(self) -> None:
        self._parser: Any = HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    def expect(self, method: bytes) -> None:
        """A request with this method is being sent."""
        self._headless = method == b"HEAD"
        self._waiting = True
        self._informational = 0

    @property
    def answering(self) -> bool:
        """Bytes of the present answer have come."""
        return self._in_body or self._head_fed > 0

    def receive(self, data: bytes) -> list[ResponseEvent]:
        """Feed bytes as they came; never raises."""
        events = self._events = []
        if not self._waiting:
            self.reusable = False
            return events
        in_body = self._in_body
        self._fed = len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade, ProtocolError) as error:
            self._stopped(error)
            return events
        if self._waiting:
            self._bound(data, in_body)
        return events

    def end_of_stream(self) -> list[ResponseEvent]:
        """The upstream closed: that ends an answer without length, and breaks any other."""
        self.reusable = False
        if not self._waiting:
            return []
        self._waiting = False
        if self._in_body and self._length == UNTIL_CLOSE:
            return [END]
        return [IncompleteMessage("the upstream closed inside its answer")]

    def _stopped(self, error: HttpParserError | HttpParserUpgrade | ProtocolError) -> None:
        """llhttp, or a callback of ours, refused to go on."""
        self.reusable = False
        if not self._waiting:
            return
        cause: BaseException | None = error if isinstance(error, ProtocolError) else error.__context__
        if isinstance(error, HttpParserUpgrade):
            cause = ProtocolError(502, _DETAILS, "the upstream switched protocols unasked")
        self._fail(cause if isinstance(cause, ProtocolError) else ProtocolError(502, _DETAILS, str(error)))

    def _bound(self, data: bytes, in_body: bool) -> None:
        """The answer is not whole: bound what is no data, a head without end, chunk extensions."""
        if not self._in_body:
            self._head_fed += len(data)
            if self._head_fed > MAX_HEADER_BYTES + 1024:
                self._fail(ProtocolError(502, "http1.headers_too_large", "the head does not end"))
        elif in_body and self._length == CHUNKED:
            self._framing_bytes += len(data) - sum(len(event) for event in self._events if event.__class__ is bytes)
            if self._framing_bytes > MAX_FRAMING_BYTES:
                self._fail(ProtocolError(502, _DETAILS, "chunk extensions or trailers without end"))

    def _fail(self, error: ProtocolError) -> None:
        self.reusable = False
        self._waiting = False
        self._events.append(error)

    # llhttp's callbacks

    def on_headers_complete(self) -> None:
        hop = self._hop
        if not self._waiting:
            # A second answer in the same bytes.
            self.reusable = False
            self._headers.clear()
            hop.clear()
            return
        headers = self._headers.copy()
        if len(headers) + len(hop) > MAX_HEADERS or self._fed + self._head_fed > MAX_HEADER_BYTES:
            self._check_size()
        self._headers.clear()
        parser = self._parser
        status = parser.get_status_code()
        head = ResponseHead(status, headers, "HTTP/1.1", UNTIL_CLOSE)
        for name, value in hop:
            if name == b"content-length":
                head.length = int(value)  # llhttp has refused repetition, signs, lists and overflow
            elif name == b"date":
                headers.append((name, value))
                head.dated = True
            elif name in _UNDERSTOOD:
                _understand_hop(parser, head, name, value)
        hop.clear()
        if status < 200:
            self._inform(head)
            return
        if not parser.should_keep_alive():
            _check_version(parser, head)
        if status > 599:
            raise ProtocolError(502, _DETAILS, f"status {status}")
        length = self._length = head.length
        self._framing_bytes = 0
        self._events.append(head)
        if self._headless:
            # llhttp can not be told that no body follows: its part ends here, and the next answer gets a new one.
            self._waiting = False
            self._events.append(END)
            if length:
                self._restart()
            return
        self._in_body = True
        if length == UNTIL_CLOSE and status not in (204, 304):
            head.close = True

    def _check_size(self) -> None:
        everything = [*self._headers, *self._hop]
        if len(everything) > MAX_HEADERS or sum(len(n) + len(v) + 4 for n, v in everything) > MAX_HEADER_BYTES:
            raise ProtocolError(502, "http1.headers_too_large", "too many or too large header fields")

    def _inform(self, head: ResponseHead) -> None:
        if head.status < 100 or head.status == 101:
            raise ProtocolError(502, _DETAILS, f"status {head.status}, which nobody asked for")
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError(502, _DETAILS, f"more than {MAX_INFORMATIONAL} informational answers")
        self._events.append(head)

    def on_body(self, data: bytes) -> None:
        if self._waiting:
            self._events.append(data)
        else:
            self.reusable = False

    def on_chunk_header(self) -> None:
        self._framing_bytes -= 32

    def on_message_complete(self) -> None:
        if not self._in_body:
            return  # a HEAD's answer is over already; an informational one ends nothing
        self._in_body = False
        self._waiting = False
        self._head_fed = 0
        if self._headers or self._hop:  # trailers
            self._headers.clear()
            self._hop.clear()
        self._events.append(END)


def _collector(headers: list[Header], hop: list[Header]) -> Callable[[bytes, bytes], None]:
    """llhttp's `on_header`: sorts fields by who answers for them. A closure: it runs once per field."""
    special = fields.RESPONSE_SPECIAL
    collect, collect_hop = headers.append, hop.append

    def on_header(name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in special:
            collect((name, value.strip()))
        else:
            collect_hop((name, value.strip()))

    return on_header


def _check_version(parser: Any, head: ResponseHead) -> None:
    version = parser.get_http_version()
    if version == "1.1":
        return
    if version != "1.0":
        raise ProtocolError(502, _DETAILS, "the upstream speaks another version")
    head.version = "HTTP/1.0"
    head.close = True


def _understand_hop(parser: Any, head: ResponseHead, name: bytes, value: bytes) -> None:
    if name == b"transfer-encoding":
        if value.lower() != b"chunked" or parser.get_http_version() != "1.1":
            raise ProtocolError(502, "http1.invalid_transfer_encoding", "a Transfer-Encoding other than chunked")
        head.length = CHUNKED
    elif name == b"keep-alive":
        head.keep_alive_s = _keep_alive_timeout(value)
    elif value != b"keep-alive":
        tokens = fields.list_tokens(value)
        if b"close" in tokens:
            head.close = True
        named = [token for token in tokens if token not in (b"close", b"keep-alive")]
        if named:
            head.headers[:] = fields.without_named(head.headers, named)


def _keep_alive_timeout(value: bytes) -> float | None:
    for token in fields.list_tokens(value):
        name, _, number = token.partition(b"=")
        if name.strip() == b"timeout" and number.strip().isdigit() and len(number) < 8:
            return float(number)
    return None
