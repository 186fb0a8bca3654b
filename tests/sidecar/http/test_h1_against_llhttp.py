"""llhttp, the parser of Node.js and Envoy's forerunner, as a second opinion: what we let through it reads alike."""

from typing import Any

import httptools
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestReader
from sidecar.http.h1_response import ResponseReader
from sidecar.http.head import END, UNTIL_CLOSE, RequestHead, ResponseHead

# Streams out of what makes parsers disagree, mostly well-formed.
PIECES = [
    *[b"GET", b"POST", b"get", b" ", b"  ", b"\t", b"/", b"/a?b", b"*", b"http://a/", b"HTTP/1.1", b"HTTP/1.0"],
    *[b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"\x7f", b"\xff", b":", b": ", b" :", b",", b";", b"\x0b", b"\x0c"],
    *[b"Host: a\r\n", b"Host: b\r\n", b"A: b\r\n", b" folded\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"],
    *[b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"],
    *[b"Transfer-Encoding: chunked, x\r\n", b"Connection: close\r\n"],
    *[b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST /x HTTP/1.1\r\nHost: a\r\n", b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n"],
    *[b"5;a=b\r\nhello\r\n", b"5 \r\n", b"0x5\r\n", b"00005\r\nhello\r\n", b"_5\r\n", b"X-T: 1\r\n"],
]  # fmt: skip
stream = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=14).map(b"".join)
request_stream = st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n"]).flatmap(
    lambda start: stream.map(lambda rest: start + rest)
)
response_stream = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 \r\nContent-Length: 5\r\n"]).flatmap(
    lambda start: stream.map(lambda rest: start + rest)
)


class Listener:
    """What llhttp says, message by message."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []
        self._target = b""
        self._fields = 0
        self._body = b""
        self.parser: Any = None

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        first = self.parser.get_method() if self._target else self.parser.get_status_code()
        self.messages.append((first, self._target, self._body))
        self._target = b""
        self._body = b""


def second_opinion(kind: type[Any], data: bytes) -> tuple[list[tuple[Any, ...]], bool]:
    listener = Listener()
    listener.parser = kind(listener)
    try:
        listener.parser.feed_data(data)
    except httptools.HttpParserError:
        return listener.messages, False
    return listener.messages, True


@given(request_stream)
def test_every_request_that_we_let_through_llhttp_reads_alike(data: bytes) -> None:
    events = RequestReader().receive(data)
    whole: list[tuple[Any, ...]] = []
    head, body = None, b""
    for event in events:
        if isinstance(event, RequestHead):
            head, body = event, b""
        elif isinstance(event, bytes):
            body += event
        elif event is END:
            assert head is not None
            whole.append((head.method, body))

    theirs, _ = second_opinion(httptools.HttpRequestParser, data)
    assert whole == [(method, said) for method, _, said in theirs[: len(whole)]]


@given(response_stream)
def test_every_answer_that_we_let_through_llhttp_reads_alike(data: bytes) -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    events = reader.receive(data)
    heads = [event for event in events if isinstance(event, ResponseHead) and event.status >= 200]
    if not heads or isinstance(events[-1], ProtocolError) or heads[0].length == UNTIL_CLOSE or events[-1] is not END:
        return

    theirs, _ = second_opinion(httptools.HttpResponseParser, data)
    body = b"".join(event for event in events if isinstance(event, bytes))
    assert theirs[0] == (heads[0].status, b"", body)
