"""What an upstream may answer, and what breaks its connection: byte tables."""

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_response import ResponseEvent, ResponseReader
from sidecar.http.head import CHUNKED, END, UNTIL_CLOSE, ResponseHead, Trailers


def read(*pieces: bytes, method: bytes = b"GET") -> tuple[list[ResponseEvent], ResponseReader]:
    reader = ResponseReader()
    reader.expect(method)
    return [event for piece in pieces for event in reader.receive(piece)], reader


def test_an_answer_of_known_length() -> None:
    events, reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b \r\nServer: x\r\n\r\nhel", b"lo")

    head = events[0]
    assert isinstance(head, ResponseHead)
    assert (head.status, head.headers, head.length, head.close) == (200, [(b"x-a", b"b")], 5, False)
    assert events[1:] == [b"hel", b"lo", END]
    assert reader.reusable


def test_a_chunked_answer_loses_its_framing_and_keeps_its_trailers() -> None:
    events, reader = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSet-Cookie: a\r\n"
        b"Grpc-Status: 0\r\n\r\n"
    )

    assert isinstance(events[0], ResponseHead)
    assert events[0].length == CHUNKED
    assert isinstance(events[2], Trailers)
    assert events[2].headers == [(b"grpc-status", b"0")]
    assert [events[1], events[3]] == [b"abc", END]
    assert reader.reusable


def test_an_answer_without_length_ends_with_the_connection() -> None:
    events, reader = read(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def")

    assert isinstance(events[0], ResponseHead)
    assert (events[0].length, events[0].close) == (UNTIL_CLOSE, True)
    assert events[1:] == [b"abc", b"def"]
    assert reader.end_of_stream() == [END]
    assert not reader.reusable


@pytest.mark.parametrize(
    ("method", "answer", "declared"),
    [
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, id="HEAD with a length"),
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, id="HEAD with chunks"),
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, id="HEAD without a length"),
        pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", UNTIL_CLOSE, id="204"),
        pytest.param(b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 5, id="304 with a length"),
    ],
)
def test_answers_without_a_body(method: bytes, answer: bytes, declared: int) -> None:
    events, reader = read(answer, method=method)

    assert isinstance(events[0], ResponseHead)
    assert (events[0].length, events[1]) == (declared, END)
    assert reader.reusable

    reader.expect(b"GET")
    again = reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert again[1:] == [b"hi", END]
    assert reader.reusable


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", id="HEAD"),
        pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\n\r\nhello", id="HEAD without a length"),
        pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", id="204"),
        pytest.param(b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\nhello", id="304"),
        pytest.param(b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello", id="more than the length"),
        pytest.param(
            b"GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nyo",
            id="two answers",
        ),
    ],
)
def test_bytes_beyond_the_answer_are_dropped_and_the_connection_not_reused(method: bytes, answer: bytes) -> None:
    events, reader = read(answer, method=method)

    assert [event for event in events if isinstance(event, bytes)] in ([], [b"he"], [b"hi"])
    assert events[-1] is END
    assert not reader.reusable


def test_an_answer_to_nothing_is_not_read() -> None:
    reader = ResponseReader()

    assert reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == []
    assert not reader.reusable


def test_informational_answers_are_passed_on() -> None:
    events, reader = read(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n"
    )
    events += reader.receive(b"Content-Length: 0\r\n\r\n")

    heads = [event for event in events if isinstance(event, ResponseHead)]
    assert [head.status for head in heads] == [100, 103, 200]
    assert heads[2].headers == []
    assert events[-1] is END


def test_a_flood_of_informational_answers_is_refused() -> None:
    events, _ = read(b"HTTP/1.1 100 Continue\r\n\r\n" * 17)

    assert isinstance(events[-1], ProtocolError)
    assert len(events) == 17


def switched(answer: bytes, upgrade: bytes | None = b"websocket", method: bytes = b"GET") -> list[ResponseEvent]:
    reader = ResponseReader()
    reader.expect(method, upgrade)
    return reader.receive(answer) + reader.end_of_stream()


def test_a_switch_of_protocols_that_was_asked_for_hands_on_bytes() -> None:
    head, *rest = switched(
        b"HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nA: b\r\n\r\n\x81\x02hi"
    )

    assert isinstance(head, ResponseHead)
    assert (head.status, head.upgrade, head.headers) == (101, b"websocket", [(b"a", b"b")])
    assert rest == [b"\x81\x02hi", END]


@pytest.mark.parametrize("status", [b"101 x\r\nUpgrade: other", b"101 x"], ids=["to another", "to none"])
def test_a_switch_to_what_was_not_asked_for_is_refused(status: bytes) -> None:
    events = switched(b"HTTP/1.1 " + status + b"\r\nConnection: upgrade\r\n\r\n\x81\x02hi")

    assert len(events) == 1
    assert isinstance(events[0], ProtocolError)


def test_an_upgrade_answered_otherwise_is_no_tunnel() -> None:
    events = switched(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more")

    assert isinstance(events[0], ResponseHead)
    assert events[0].upgrade is None
    assert events[1:] == [b"hi", END]


def test_connect_is_a_tunnel_from_the_2xx_on_whatever_it_says_of_a_length() -> None:
    head, *rest = switched(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi there", None, b"CONNECT")

    assert isinstance(head, ResponseHead)
    assert rest == [b"hi there", END]


def test_connect_refused_is_an_answer() -> None:
    events = switched(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nhi there", None, b"CONNECT")

    assert events[1:] == [b"hi", END]


@pytest.mark.parametrize(
    ("fields", "close", "keep_alive_s"),
    [
        pytest.param(b"Connection: close\r\n", True, None, id="close"),
        pytest.param(
            b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=100\r\n", False, 5.0, id="a time-out announced"
        ),
        pytest.param(b"Keep-Alive: timeout=soon\r\n", False, None, id="a time-out that is none"),
    ],
)
def test_how_long_the_connection_lasts(fields: bytes, close: bool, keep_alive_s: float | None) -> None:
    events, _ = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields + b"\r\n")

    assert isinstance(events[0], ResponseHead)
    assert (events[0].close, events[0].keep_alive_s) == (close, keep_alive_s)


def test_http_1_0_closes() -> None:
    events, _ = read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na")

    assert isinstance(events[0], ResponseHead)
    assert events[0].close


def test_what_connection_names_is_dropped() -> None:
    events, _ = read(b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n")

    assert isinstance(events[0], ResponseHead)
    assert events[0].headers == [(b"x-end", b"2")]


BROKEN = {
    "garbage": b"garbage\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 OK\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a signed status": b"HTTP/1.1 +20 OK\r\n\r\n",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\n\r\n",
    "a tab before the status": b"HTTP/1.1\t200 OK\r\n\r\n",
    "a control byte in the reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "a bare CR behind the reason": b"HTTP/1.1 200 OK\r\r\n\r\n",
    "a bare LF behind the status line": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a version in lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked with a parameter": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a\r\n\r\n0\r\n\r\n",
    "a length in the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 2\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "a coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "a control byte in a value": b"HTTP/1.1 200 OK\r\nA: b\x01\r\nContent-Length: 0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "101 fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    "61 KiB of fields": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 61 * 1024 + b"\r\n\r\n",
    "a chunk longer than its size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("size", [1, 100, 1 << 20], ids=["byte by byte", "in pieces", "whole"])
def test_what_breaks_the_connection(data: bytes, size: int) -> None:
    events, reader = read(*[data[at : at + size] for at in range(0, len(data), size)])

    assert isinstance(events[-1], ProtocolError), events
    assert events[-1].status == 502
    assert END not in events
    assert not reader.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["nothing", "inside the head", "inside a body of known length", "inside a chunked body"],
)
def test_a_connection_that_ends_too_soon(data: bytes) -> None:
    events, reader = read(*([data] if data else []))

    assert END not in events
    (error,) = reader.end_of_stream()
    assert isinstance(error, ProtocolError)


def test_a_head_without_end_is_refused_at_the_limit() -> None:
    _, reader = read(b"HTTP/1.1 200 OK\r\nA: ")
    for _ in range(70):
        events = reader.receive(b"b" * 1024)
        if events:
            break
    assert isinstance(events[-1], ProtocolError)


def test_an_answer_is_known_to_have_begun() -> None:
    _, reader = read()
    assert not reader.answering
    reader.receive(b"HTTP/1.1 2")
    assert reader.answering


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nA", b"HTTP/1.1 103 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
)
def test_an_answer_that_broke_off_had_begun(data: bytes) -> None:
    _, reader = read(data)
    reader.end_of_stream()
    assert reader.answering

    reader.expect(b"GET")
    assert not reader.answering
