"""What a client may send, what it is refused with, byte tables."""

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestEvent, RequestReader
from sidecar.http.head import CHUNKED, END, RequestHead

START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def read(*pieces: bytes, **limits: int) -> list[RequestEvent]:
    reader = RequestReader(**limits)
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


def test_chunks_lose_their_framing_extensions_and_trailers() -> None:
    events = read(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\nAuthorization: x\r\n\r\n"
    )

    head = events[0]
    assert isinstance(head, RequestHead)
    assert (head.length, head.authority, head.headers) == (CHUNKED, b"a", [])
    assert events[1:] == [b"abc", b"de", END]


def test_trailers_do_not_leak_into_the_next_request() -> None:
    events = read(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: 1\r\nX-Request-Id: 2\r\n\r\n",
        START + b"\r\n",
    )

    head = events[2]
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
    "h2c with a body": (403, START + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\nblah"),
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
