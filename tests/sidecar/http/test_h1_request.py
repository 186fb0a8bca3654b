"""What a client may send, what it is refused with, byte tables."""

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestEvent, RequestReader
from sidecar.http.head import CHUNKED, END, RequestHead, Trailers

START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def read(*pieces: bytes, max_header_bytes: int = 60 * 1024) -> list[RequestEvent]:
    reader = RequestReader(max_header_bytes=max_header_bytes)
    return [event for piece in pieces for event in reader.receive(piece)]


def head_of(*pieces: bytes) -> RequestHead:
    first = read(*pieces)[0]
    assert isinstance(first, RequestHead), first
    return first


def refusal_of(events: list[RequestEvent]) -> ProtocolError:
    assert events, "nothing was said about it"
    assert isinstance(events[-1], ProtocolError), events
    return events[-1]


def test_a_request_without_body_is_a_head_and_an_end() -> None:
    events = read(b"GET /a?b=c HTTP/1.1\r\nHost: Example.COM:80\r\nX-One:  two \t\r\nX-One: three\r\n\r\n")

    head, end = events
    assert isinstance(head, RequestHead)
    assert (head.method, head.target, head.authority) == (b"GET", b"/a?b=c", b"example.com:80")
    assert head.headers == [(b"x-one", b"two"), (b"x-one", b"three")]
    assert (head.length, head.close, head.version) == (0, False, "HTTP/1.1")
    assert end is END


def test_a_body_of_known_length_is_passed_as_it_comes() -> None:
    events = read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", b"def")

    assert isinstance(events[0], RequestHead)
    assert events[0].length == 6
    assert events[1:] == [b"abc", b"def", END]


def test_chunks_lose_their_framing_extensions_and_what_must_not_trail() -> None:
    events = read(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\nAuthorization: x\r\n\r\n"
    )

    head = events[0]
    assert isinstance(head, RequestHead)
    assert (head.length, head.authority, head.headers) == (CHUNKED, b"a", [])
    assert events[1:] == [b"abcde", END]


def test_trailers_do_not_leak_into_the_next_request() -> None:
    events = read(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: 1\r\nX-Request-Id: 2\r\n\r\n",
        START + b"\r\n",
    )

    trailers, end, head = events[1:4]
    assert isinstance(trailers, Trailers)
    assert trailers.headers == [(b"x-trailer", b"1")]
    assert end is END
    assert isinstance(head, RequestHead)
    assert head.headers == []
    assert head.ours == {}


def test_pipelined_requests_come_in_order() -> None:
    events = read(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3)))

    assert [event.target for event in events if isinstance(event, RequestHead)] == [b"/0", b"/1", b"/2"]
    assert events[1::2] == [END, END, END]


def test_an_absolute_form_target_replaces_host() -> None:
    head = head_of(b"GET HTTP://Good.example:8080?q HTTP/1.1\r\nHost: evil\r\n\r\n")

    assert (head.scheme, head.authority, head.target) == (b"http", b"good.example:8080", b"/?q")


def test_the_proxys_own_fields_come_apart() -> None:
    head = head_of(
        START + b"X-Request-Id: 1\r\nUser-Agent: curl\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2\r\n\r\n"
    )

    assert head.headers == []
    assert head.ours == {b"x-request-id": b"1", b"user-agent": b"curl", b"x-forwarded-for": b"1.1.1.1,2"}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param(b"Connection: keep-alive\r\nKeep-Alive: 5\r\nX: y\r\n", [(b"x", b"y")], id="keep-alive ends here"),
        pytest.param(
            b"Connection: X-Gone\r\nX-Gone: 1\r\nX: y\r\n", [(b"x", b"y")], id="what Connection names ends here"
        ),
        pytest.param(
            b"TE: trailers\r\nTrailer: x\r\nProxy-Authorization: y\r\n", [], id="TE, Trailer, proxy credentials"
        ),
        pytest.param(
            b"Connection: Authorization, X-Envoy-Foo\r\nAuthorization: a\r\nX-Envoy-Foo: b\r\n",
            [(b"authorization", b"a"), (b"x-envoy-foo", b"b")],
            id="what the mesh relies on can not be named away",
        ),
        pytest.param(b"Upgrade: websocket\r\n", [], id="Upgrade without Connection means nothing"),
        pytest.param(
            b"Expect: 100-Continue\r\nContent-Length: 1\r\n",
            [(b"expect", b"100-continue")],
            id="100-continue is passed on",
        ),
    ],
)
def test_fields_of_the_hop_end_here(fields: bytes, left: list[tuple[bytes, bytes]]) -> None:
    assert head_of(START + fields + b"\r\n").headers == left


def test_after_connection_close_nothing_is_read() -> None:
    events = read(START + b"Connection: close\r\n\r\n" + START + b"\r\n", START + b"\r\n")

    assert isinstance(events[0], RequestHead)
    assert events[0].close
    assert events[1:] == [END]


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"], ids=["plain", "keep-alive asked for"])
def test_http_1_0_is_answered_and_closed(connection: bytes) -> None:
    head = head_of(b"GET / HTTP/1.0\r\nHost: a\r\n" + connection + b"\r\n")

    assert (head.version, head.close) == ("HTTP/1.0", True)


def test_h2c_is_ignored_and_the_next_request_read() -> None:
    events = read(
        START + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n" + START + b"\r\n"
    )

    assert [event.__class__.__name__ for event in events] == ["RequestHead", "End", "RequestHead", "End"]
    assert isinstance(events[0], RequestHead)
    assert events[0].headers == []


def test_h2c_is_ignored_with_a_body_too() -> None:
    events = read(START + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\nblah" + START + b"\r\n")

    assert [event.__class__.__name__ for event in events] == ["RequestHead", "bytes", "End", "RequestHead", "End"]
    assert isinstance(events[0], RequestHead)
    assert (events[0].headers, events[0].upgrade) == ([], None)


def chunked(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body


REFUSED = {
    "length and chunks": (400, START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and length": (400, START + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "length twice, the same": (400, START + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "length twice, differing": (400, START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "a list of lengths": (400, START + b"Content-Length: 5, 5\r\n\r\nhello"),
    "a length with a plus": (400, START + b"Content-Length: +5\r\n\r\nhello"),
    "a negative length": (400, START + b"Content-Length: -1\r\n\r\nhello"),
    "a length that overflows": (400, START + b"Content-Length: 18446744073709551617\r\n\r\nhello"),
    "an empty length": (400, START + b"Content-Length: \r\n\r\n"),
    "an unknown transfer coding": (501, START + b"Transfer-Encoding: gzip\r\n\r\n"),
    "chunked behind another coding": (501, START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked not last": (400, START + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "almost chunked": (501, START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0 with keep-alive": (
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "a bare LF behind a field": (400, START + b"A: b\n\r\n"),
    "a bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "a bare CR in a value": (400, START + b"A: b\rc\r\n\r\n"),
    "a NUL in a value": (400, START + b"A: b\x00c\r\n\r\n"),
    "a NUL in a name": (400, START + b"A\x00: b\r\n\r\n"),
    "a control byte in a value": (400, START + b"A: b\x01c\r\n\r\n"),
    "DEL in a value": (400, START + b"A: b\x7fc\r\n\r\n"),
    "a folded line": (400, START + b"A: b\r\n c\r\n\r\n"),
    "a space before the colon": (400, START + b"A : b\r\n\r\n"),
    "a space before the name": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a space in the name": (400, START + b"A b: c\r\n\r\n"),
    "no name": (400, START + b": c\r\n\r\n"),
    "no colon": (400, START + b"A\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    "no Host in HTTP/1.0": (400, b"GET / HTTP/1.0\r\n\r\n"),
    "two Hosts": (400, START + b"Host: a\r\n\r\n"),
    "a Host with user information": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "a Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "a Host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "a Host with a port beyond 65535": (400, b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    "a Host with an empty port": (400, b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
    "an empty Host": (400, b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    "a list of Hosts": (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "a chunk size in C's notation": (400, chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a sign": (400, chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size of 17 digits": (400, chunked(b"12345678123456781\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a space": (400, chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a bare LF": (400, chunked(b"5\nhello\r\n0\r\n\r\n")),
    "an extension with a bare LF": (400, chunked(b"5;a=\nb\r\nhello\r\n0\r\n\r\n")),
    "a chunk longer than its size": (400, chunked(b"5\r\nhelloXX0\r\n\r\n")),
    "an empty chunk size": (400, chunked(b"\r\n5\r\nhello\r\n0\r\n\r\n")),
    "CONNECT": (403, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nSSH-2.0"),
    "a WebSocket upgrade": (403, START + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    "an upgrade with a body": (
        400,
        START + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\nblah",
    ),
    "CONNECT with a body": (400, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 4\r\n\r\nblah"),
    "CONNECT to a path": (400, b"CONNECT /a HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    "CONNECT without a port": (400, b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces before the target": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces before the version": (400, b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tab in the request line": (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a form feed in the request line": (400, b"GET /\x0c HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space before the method": (400, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no target": (400, b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an empty target": (400, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no version": (400, b"GET / \r\nHost: a\r\n\r\n"),
    "a version in lower case": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "a version of three digits": (400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "a version with a zero in front": (400, b"GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "a CR behind the version": (400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    "three empty lines first": (400, b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two empty lines first": (400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a bare LF first": (400, b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bare LFs only": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "the last line with a bare LF": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "a bare CR as a line's end": (400, b"GET / HTTP/1.1\r\nHost: a\rA: b\r\n\r\n"),
    "a vertical tab in a value": (400, START + b"A: b\x0bc\r\n\r\n"),
    "a form feed around a value": (400, START + b"A: \x0cb\r\n\r\n"),
    "a byte over 127 in a name": (400, START + b"\xc3\xa4: b\r\n\r\n"),
    "a bracket in a name": (400, START + b"A[0]: b\r\n\r\n"),
    "a quotation mark in a name": (400, START + b'"A": b\r\n\r\n'),
    "a slash in a name": (400, START + b"A/b: c\r\n\r\n"),
    "a pseudo-header": (400, START + b":path: /x\r\n\r\n"),
    "a tab before the colon": (400, START + b"A\t: b\r\n\r\n"),
    "a length with a zero in front": (400, START + b"Content-Length: 05\r\n\r\nhello"),
    "a length in hexadecimal": (400, START + b"Content-Length: 0x5\r\n\r\nhello"),
    "a length with a space inside": (400, START + b"Content-Length: 5 5\r\n\r\nhello"),
    "a length with an underscore": (400, START + b"Content-Length: 1_0\r\n\r\nhello56789"),
    "a length with a vertical tab": (400, START + b"Content-Length: \x0b5\r\n\r\nhello"),
    "a length beyond 18 digits": (400, START + b"Content-Length: 1000000000000000000\r\n\r\nhello"),
    "a fractional length": (400, START + b"Content-Length: 5.0\r\n\r\nhello"),
    "chunked with a parameter": (501, START + b"Transfer-Encoding: chunked;foo\r\n\r\n0\r\n\r\n"),
    "chunked with a comma behind": (501, START + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    "chunked with a comma before": (501, START + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    "chunked and chunked in one field": (400, START + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked and identity": (400, START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "identity": (501, START + b"Transfer-Encoding: identity\r\n\r\n"),
    "chunked in quotation marks": (501, START + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "an empty Transfer-Encoding": (501, START + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    "a byte over 127 before chunked": (501, START + b"Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    "a vertical tab before chunked": (400, START + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "Transfer-Encoding with a space before the colon": (
        400,
        START + b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    "chunked folded": (400, START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "a Host with two ports": (400, b"GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n"),
    "a Host with a NUL": (400, b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n"),
    "a Host with a backslash": (400, b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    "a Host with an escape": (400, b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n"),
    "a Host with a fragment": (400, b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    "a Host that is a port": (400, b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    "a Host with an open bracket": (400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    "a Host beyond ASCII": (400, b"GET / HTTP/1.1\r\nHost: \xc3\xa4.b\r\n\r\n"),
    "an absolute target without Host": (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
    "an absolute target and two Hosts": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "an absolute target without authority": (400, b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an absolute target with a backslash": (400, b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with DEL": (400, b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a chunk size with an underscore": (400, chunked(b"1_0\r\nhello\r\n0\r\n\r\n")),
    "a chunk size of 16 digits": (400, chunked(b"0000000000000005\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a tab": (400, chunked(b"5\t\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a space before": (400, chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    "a chunk size with a comma": (400, chunked(b"5,5\r\nhello\r\n0\r\n\r\n")),
    "a negative chunk size": (400, chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    "an extension with a bare CR": (400, chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    "an extension that ends in CR CR LF": (400, chunked(b"5;a\r\r\nhello\r\n0\r\n\r\n")),
    "an extension with a NUL": (400, chunked(b"5;a\x00\r\nhello\r\n0\r\n\r\n")),
    "an extension beyond ASCII": (400, chunked(b"5;a=\xff\r\nhello\r\n0\r\n\r\n")),
    "a chunk shorter than its size": (400, chunked(b"6\r\nhello\r\n0\r\n\r\n")),
    "data that ends in LF alone": (400, chunked(b"5\r\nhello\n0\r\n\r\n")),
    "a last chunk with a bare LF": (400, chunked(b"0\n\r\n")),
    "a last chunk that ends in LF alone": (400, chunked(b"0\r\n\n")),
    "a malformed trailer": (400, chunked(b"0\r\nA b: c\r\n\r\n")),
    "a folded trailer": (400, chunked(b"0\r\nA: b\r\n c\r\n\r\n")),
    "a trailer with a bare LF": (400, chunked(b"0\r\nA: b\nC: d\r\n\r\n")),
    "Transfer-Encoding in the trailers": (400, chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    "101 trailers": (400, chunked(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n")),
    "9 KiB of trailers": (400, chunked(b"0\r\nA: " + b"b" * 9 * 1024 + b"\r\n\r\n")),
    "an unknown expectation": (417, START + b"Expect: miracles\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\n\r\n"),
    "HTTP/2 in text": (400, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "the HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an unknown method": (400, b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method in lower case": (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "ICE's method": (400, b"SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "RTSP": (400, b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n"),
    "white space behind the version": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "a target with a space": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a NUL": (400, b"GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target beyond ASCII": (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with a fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target without a slash": (400, b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "the target * of a GET": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an absolute target with user information": (400, b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an absolute target of another scheme": (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a TLS handshake": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a target that is too long": (414, b"GET /" + b"a" * 16 * 1024 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target without end": (414, b"GET /" + b"a" * 17 * 1024),
    "101 fields": (431, START + b"X: y\r\n" * 100 + b"\r\n"),
    "61 KiB of fields": (431, START + b"X: " + b"y" * 61 * 1024 + b"\r\n\r\n"),
    "Content-Length in the trailers": (400, chunked(b"0\r\nContent-Length: 5\r\n\r\n")),
}


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_refused_whole(status: int, data: bytes) -> None:
    error = refusal_of(read(data))

    assert error.status == status
    assert error.details


@pytest.mark.parametrize("data", [data for _, data in REFUSED.values()], ids=REFUSED)
def test_refused_byte_by_byte_and_never_let_through(data: bytes) -> None:
    events = read(*[data[at : at + 1] for at in range(len(data))])

    refusal_of(events)
    assert END not in events, "a request that was refused had been let through whole"


def test_refused_sizes_are_refused_in_pieces_too() -> None:
    for data in (REFUSED["61 KiB of fields"][1], REFUSED["101 fields"][1]):
        events = read(*[data[at : at + 100] for at in range(0, len(data), 100)])
        assert refusal_of(events).status == 431


def test_a_chunks_extension_without_end_is_refused() -> None:
    data = chunked(b"5;" + b"a" * 64 * 1024)
    events = read(*[data[at : at + 1024] for at in range(0, len(data), 1024)])

    assert refusal_of(events).status == 400


def test_a_header_field_without_end_is_refused_at_the_limit() -> None:
    reader = RequestReader(max_header_bytes=1024)
    reader.receive(START + b"X: ")
    fed = 0
    while not reader.finished:
        reader.receive(b"y" * 512)
        fed += 512
        assert fed < 20 * 1024, "no bound"


def test_a_request_before_a_malformed_one_is_still_served() -> None:
    events = read(START + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n")

    assert isinstance(events[0], RequestHead)
    assert events[1] is END
    assert refusal_of(events).status == 400


def test_after_a_refusal_input_is_ignored() -> None:
    reader = RequestReader()
    assert isinstance(reader.receive(b"GET / HTTP/1.1\r\n\r\n")[-1], ProtocolError)
    assert reader.receive(START + b"\r\n") == []


def test_a_head_under_way_is_known() -> None:
    reader = RequestReader()
    assert not reader.mid_head
    reader.receive(b"GET / HT")
    assert reader.mid_head
    reader.receive(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert not reader.mid_head


UPGRADE = START + b"Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
CONNECT = b"CONNECT Db.example:5432 HTTP/1.1\r\nHost: other\r\n\r\n"


def asked(data: bytes) -> tuple[RequestReader, RequestHead]:
    reader = RequestReader(tunnels=True)
    head, end = reader.receive(data)
    assert isinstance(head, RequestHead), head
    assert end is END
    return reader, head


def test_an_upgrade_is_asked_for_and_then_granted() -> None:
    reader, head = asked(UPGRADE + b"early")

    assert head.upgrade == b"websocket"
    assert head.headers == [(b"sec-websocket-version", b"13")]
    assert reader.receive(b" bird") == []
    assert reader.switch() == b"early bird"
    assert reader.receive(b"\x81\x00GET / HTTP/1.1\r\n\r\n") == [b"\x81\x00GET / HTTP/1.1\r\n\r\n"]


def test_an_upgrade_that_was_declined_leaves_the_connection_to_further_requests() -> None:
    reader, _ = asked(UPGRADE + START + b"\r\n")
    events = reader.decline() + reader.receive(START + b"\r\n")

    assert [event.__class__.__name__ for event in events] == ["RequestHead", "End"] * 2


def test_connect_names_its_authority_and_nothing_is_read_behind_a_refusal() -> None:
    reader, head = asked(CONNECT + START + b"\r\n")

    assert (head.method, head.authority, head.target, head.upgrade) == (b"CONNECT", b"db.example:5432", b"", None)
    assert reader.decline() == []
    assert reader.finished


def test_connect_that_was_granted_is_a_tunnel() -> None:
    reader, _ = asked(CONNECT)

    assert reader.switch() == b""
    assert reader.receive(b"\x00anything") == [b"\x00anything"]


def test_what_comes_before_the_answer_to_an_upgrade_is_bounded() -> None:
    reader, _ = asked(UPGRADE)

    events: list[RequestEvent] = []
    for _ in range(17):
        events = reader.receive(b"x" * 4096)
    assert refusal_of(events).status == 400


def test_several_protocols_to_choose_from_are_named_together() -> None:
    _, head = asked(START + b"Upgrade: h2c, a/1\r\nUpgrade: B\r\nConnection: upgrade\r\n\r\n")

    assert head.upgrade == b"a/1, b"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.0\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="in HTTP/1.0"),
        pytest.param(START + b"Upgrade: x\r\n\r\n", id="not named by Connection"),
        pytest.param(START + b"Connection: upgrade\r\n\r\n", id="named by Connection alone"),
        pytest.param(START + b"Upgrade: ,\r\nConnection: upgrade\r\n\r\n", id="of nothing"),
    ],
)
def test_upgrades_that_are_none(data: bytes) -> None:
    head = read(data)[0]

    assert isinstance(head, RequestHead)
    assert (head.upgrade, head.headers) == (None, [])


def test_one_empty_line_before_a_request_is_ignored() -> None:
    events = read(b"\r\n" + START + b"\r\n", b"\r\n", START + b"\r\n")

    assert [event.__class__.__name__ for event in events] == ["RequestHead", "End"] * 2


def test_trailers_are_their_own_event_before_the_end() -> None:
    data = chunked(b"3\r\nabc\r\n0\r\nX-Checksum:  1 \r\nHost: evil\r\nX-Forwarded-For: 1\r\nB: c\r\n\r\n")
    body, trailers, end = read(data)[1:]

    assert body == b"abc"
    assert isinstance(trailers, Trailers)
    assert trailers.headers == [(b"x-checksum", b"1"), (b"b", b"c")]
    assert end is END


def test_many_small_chunks_are_one_piece_of_data() -> None:
    events = read(chunked(b"1\r\na\r\n" * 5000 + b"0\r\n\r\n"))

    assert events[1:] == [b"a" * 5000, END]


@pytest.mark.parametrize("over", [0, 1], ids=["at the limit", "one byte over"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["byte by byte", "in pieces", "whole"])
def test_the_limit_of_header_bytes_is_the_same_however_they_come(over: int, size: int) -> None:
    field_lines = b"Host: a\r\nA: "
    data = b"GET / HTTP/1.1\r\n" + field_lines + b"b" * (1024 - len(field_lines) - 2 + over) + b"\r\n\r\n"
    events = read(*[data[at : at + size] for at in range(0, len(data), size)], max_header_bytes=1024)

    if over:
        assert refusal_of(events).status == 431
    else:
        assert events[-1] is END


@pytest.mark.parametrize("count", [100, 101])
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["byte by byte", "whole"])
def test_the_limit_of_fields_is_the_same_however_they_come(count: int, size: int) -> None:
    data = START + b"A: b\r\n" * (count - 1) + b"\r\n"
    events = read(*[data[at : at + size] for at in range(0, len(data), size)])

    assert (events[-1] is END) == (count == 100)
