"""Bytes of an upstream -> response events. No I/O; what an upstream gets wrong ends its connection, not ours."""

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

_SPECIAL = fields.RESPONSE_SPECIAL
_NO_BODY = frozenset([204, 304])
_DETAILS = "http1.codec_error"


class ResponseReader:
    """Reads the answers on one upstream connection, one request at a time.

    Call `expect` before each request. `receive` returns its events; the answer's last is End or a ProtocolError.
    `reusable` tells whether another request may use the connection: nothing came that was not asked for.
    """

    def __init__(self) -> None:
        self._parser: Any = HttpResponseParser(self)
        self._events: list[ResponseEvent] = []
        self._headers: list[Header] = []
        self._hop: list[Header] = []
        self._head_bytes = 0
        self._head_fed = 0
        self._framing_bytes = 0
        self._informational = 0
        self._waiting = False
        self._headless = False  # the answer to HEAD
        self._body_length = 0
        self._in_body = False
        self.reusable = True

    def expect(self, method: bytes) -> None:
        """A request with this method is being sent."""
        self._headless = method == b"HEAD"
        self._waiting = True
        self._informational = 0

    def receive(self, data: bytes) -> list[ResponseEvent]:
        """Feed bytes as they came; never raises."""
        events = self._events = []
        if not self._waiting:
            self.reusable = False
            return events
        in_body = self._in_body
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(ProtocolError(502, _DETAILS, "the upstream switched protocols unasked"))
        except HttpParserError as error:
            self.reusable = False
            if self._waiting:
                cause = error.__context__
                self._fail(cause if isinstance(cause, ProtocolError) else ProtocolError(502, _DETAILS, str(error)))
            return events
        if self._waiting:
            self._count(data, in_body, events)
        return events

    def end_of_stream(self) -> list[ResponseEvent]:
        """The upstream closed: that ends an answer without length, and breaks any other."""
        self.reusable = False
        if not self._waiting:
            return []
        self._waiting = False
        if self._in_body and self._body_length == UNTIL_CLOSE:
            return [END]
        return [IncompleteMessage("the upstream closed inside its answer")]

    @property
    def answering(self) -> bool:
        """Bytes of the present answer have come."""
        return self._in_body or self._head_fed > 0

    def _count(self, data: bytes, in_body: bool, events: list[ResponseEvent]) -> None:
        """Bound what is no data: a head without end, chunk extensions."""
        if not self._in_body:
            self._head_fed += len(data)
            if self._head_fed > MAX_HEADER_BYTES + 1024:
                self._fail(ProtocolError(502, "http1.headers_too_large", "the head does not end"))
        elif in_body and self._body_length == CHUNKED:
            self._framing_bytes += len(data) - sum(len(event) for event in events if event.__class__ is bytes)
            if self._framing_bytes > MAX_FRAMING_BYTES:
                self._fail(ProtocolError(502, _DETAILS, "chunk extensions without end"))

    def _fail(self, error: ProtocolError) -> None:
        self.reusable = False
        self._waiting = False
        self._events.append(error)

    def _finish(self, end: End) -> None:
        self._waiting = False
        self._in_body = False
        self._head_fed = 0
        self._events.append(end)

    # llhttp's callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if name in _SPECIAL:
            self._hop.append((name, value.strip()))
        else:
            self._headers.append((name, value.strip()))

    def on_headers_complete(self) -> None:
        headers = self._headers
        hop = self._hop
        self._headers = []
        self._hop = []
        if not self._waiting:
            self.reusable = False  # a second answer in the same bytes
            return
        if self._head_bytes > MAX_HEADER_BYTES or len(headers) + len(hop) > MAX_HEADERS:
            raise ProtocolError(502, "http1.headers_too_large", "too many or too large header fields")
        self._head_bytes = 0
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if status < 200:
            self._inform(status, headers)
            return
        head = ResponseHead(status, headers, "HTTP/1.1", UNTIL_CLOSE)
        if version != "1.1":
            if version != "1.0":
                raise ProtocolError(502, _DETAILS, f"the upstream speaks HTTP/{version}")
            head.version = "HTTP/1.0"
            head.close = True
        for name, value in hop:
            self._understand(head, name, value)
        if status > 599:
            raise ProtocolError(502, _DETAILS, f"status {status}")
        if status in _NO_BODY:
            head.length = 0 if status == 204 else head.length
        elif head.length == UNTIL_CLOSE and not self._headless:
            head.close = True
        self._events.append(head)
        self._framing_bytes = 0
        self._body_length = head.length
        self._in_body = True
        if self._headless:
            # llhttp can not be told that no body follows. Its state ends here; the next request gets a new parser.
            self._finish(END)
            if head.length != 0:
                self._parser = HttpResponseParser(self)

    def _inform(self, status: int, headers: list[Header]) -> None:
        if status < 100 or status == 101:
            raise ProtocolError(502, _DETAILS, f"status {status}")
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError(502, _DETAILS, f"more than {MAX_INFORMATIONAL} informational answers")
        self._events.append(ResponseHead(status, headers))

    def _understand(self, head: ResponseHead, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            head.length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or head.version != "HTTP/1.1":
                raise ProtocolError(502, "http1.invalid_transfer_encoding", "a Transfer-Encoding other than chunked")
            head.length = CHUNKED
        elif name == b"connection":
            tokens = fields.list_tokens(value)
            if b"close" in tokens:
                head.close = True
            named = [token for token in tokens if token not in (b"close", b"keep-alive")]
            if named:
                head.headers[:] = fields.without_named(head.headers, named)
        elif name == b"date":
            head.headers.append((name, value))
            head.dated = True
        elif name == b"keep-alive":
            head.keep_alive_s = _keep_alive_timeout(value)

    def on_body(self, data: bytes) -> None:
        if self._waiting:
            self._events.append(data)
        else:
            self.reusable = False

    def on_chunk_header(self) -> None:
        self._framing_bytes -= 32

    def on_message_complete(self) -> None:
        trailers = self._headers
        self._headers = []
        self._hop = []
        if not self._waiting or not self._in_body:
            return  # a HEAD's answer is over already; an informational one ends nothing
        self._finish(End(fields.safe_trailers(trailers)) if trailers else END)


def _keep_alive_timeout(value: bytes) -> float | None:
    for token in fields.list_tokens(value):
        name, _, number = token.partition(b"=")
        if name.strip() == b"timeout" and number.strip().isdigit() and len(number) < 8:
            return float(number)
    return None
