"""What a client of ours takes from a server, and what it does not. The frames' own rules are in the server's table."""

from typing import NamedTuple

import pytest

from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import Headers
from sidecar.http.h2.settings import Limits
from sidecar.http.head import CHUNKED, Header
from tests.sidecar.http.h2.wire import (
    CONTINUATION,
    GET,
    OK,
    POST,
    PUSH_PROMISE,
    block,
    client,
    data,
    frame,
    goaway,
    headers,
    heard,
    rst_stream,
    settings,
    told,
    window_update,
)

HEAD_REQUEST: list[Header] = [(b":method", b"HEAD"), *GET[1:]]
CONNECT: list[Header] = [(b":method", b"CONNECT"), (b":authority", b"a.b:443")]


class Case(NamedTuple):
    name: str
    octets: bytes
    outcome: str
    request: list[Header] = GET
    """Sent as stream 1; a GET, HEAD or DELETE ends there."""


def answer(*fields: Header, end: bool = True) -> bytes:
    return headers(1, fields, 5 if end else 4)


FINE = "Headers 1 head 1 fields end"
PUSH = (2).to_bytes(4, "big") + block(GET)

CASES = [
    Case("5.1 idle: HEADERS on a stream that we have not opened", headers(3, OK, 5), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: DATA", data(3, b"x"), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: RST_STREAM", rst_stream(3, 8), "connection PROTOCOL_ERROR"),
    Case("5.1 idle: WINDOW_UPDATE", window_update(3, 8), "connection PROTOCOL_ERROR"),
    Case("5.1.1 HEADERS on a stream that a server opens", headers(2, OK, 5), "connection PROTOCOL_ERROR"),
    Case("5.1 closed: DATA", answer(*OK) + data(1, b"x"), "connection STREAM_CLOSED"),
    Case("5.1 closed: HEADERS", answer(*OK) + answer(*OK), "connection STREAM_CLOSED"),
    Case("5.1 closed: RST_STREAM", answer(*OK) + rst_stream(1, 0), FINE),
    Case("5.1 closed: WINDOW_UPDATE", answer(*OK) + window_update(1, 9), FINE),
    Case("5.1 half-closed: DATA behind the end", answer(*OK) + data(1, b"x"), "stream 1 STREAM_CLOSED", POST),
    Case(
        "6.4 the server wants no more of the request", answer(*OK) + rst_stream(1, 0), f"{FINE}, Reset 1 NO_ERROR", POST
    ),
    Case("6.4 the stream is reset before an answer", rst_stream(1, 7), "Reset 1 REFUSED_STREAM"),
    Case("6.4 a code that nobody knows", rst_stream(1, 0) + b"", "Reset 1 NO_ERROR"),
    Case("6.5.2 a server enables push", settings((2, 1)), "connection PROTOCOL_ERROR"),
    Case("6.5.2 a server says that push is off", settings((2, 0)), "SettingsChanged"),
    Case("6.6 PUSH_PROMISE", frame(PUSH_PROMISE, 4, 1, PUSH), "connection PROTOCOL_ERROR"),
    Case("6.8 GOAWAY leaves the stream out", goaway(0, 0), "GoneAway last 0 code 0, Reset 1 REFUSED_STREAM"),
    Case("6.8 GOAWAY includes the stream", goaway(1, 0) + answer(*OK), f"GoneAway last 1 code 0, {FINE}"),
    Case("6.8 an answer on a stream that GOAWAY left out", goaway(0, 0) + answer(*OK), "connection STREAM_CLOSED"),
    Case("6.10 CONTINUATION", frame(1, 1, 1, b"") + frame(CONTINUATION, 4, 1, block(OK)), FINE),
    Case("8.1 a response", answer(*OK, end=False) + data(1, b"hi", 1), "Headers 1 head 1 fields, Data 1 2 octets end"),
    Case("8.1 DATA before the head", data(1, b"x"), "stream 1 PROTOCOL_ERROR"),
    Case(
        "8.1 trailers",
        answer(*OK, end=False) + answer((b"a", b"b")),
        "Headers 1 head 1 fields, Headers 1 trailers 1 fields end",
    ),
    Case(
        "8.1 trailers that do not end",
        answer(*OK, end=False) + answer((b"a", b"b"), end=False),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case("8.1 two final heads", answer(*OK, end=False) + answer(*OK), "stream 1 PROTOCOL_ERROR"),
    Case(
        "8.1 1xx, then the head",
        answer((b":status", b"103"), end=False) + answer(*OK),
        f"Headers 1 informational 1 fields, {FINE}",
    ),
    Case("8.1 1xx that ends the stream", answer((b":status", b"103")), "stream 1 PROTOCOL_ERROR"),
    Case("8.1 DATA behind 1xx", answer((b":status", b"100"), end=False) + data(1, b"x"), "stream 1 PROTOCOL_ERROR"),
    Case("8.6 101", answer((b":status", b"101"), end=False), "stream 1 PROTOCOL_ERROR"),
    Case(
        "8.1.1 content-length and DATA agree",
        answer(*OK, (b"content-length", b"2"), end=False) + data(1, b"hi", 1),
        "Headers 1 head 2 fields, Data 1 2 octets end",
    ),
    Case(
        "8.1.1 less DATA than content-length",
        answer(*OK, (b"content-length", b"3"), end=False) + data(1, b"hi", 1),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case(
        "8.1.1 more DATA than content-length",
        answer(*OK, (b"content-length", b"1"), end=False) + data(1, b"hi"),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case("8.1.1 content-length and no body", answer(*OK, (b"content-length", b"3")), "stream 1 PROTOCOL_ERROR"),
    Case(
        "8.1.1 content-length twice",
        answer(*OK, (b"content-length", b"0"), (b"content-length", b"0")),
        "stream 1 PROTOCOL_ERROR",
    ),
    Case(
        "8.1.1 an answer to HEAD has a length and no body",
        answer(*OK, (b"content-length", b"3")),
        "Headers 1 head 2 fields end",
        HEAD_REQUEST,
    ),
    Case(
        "8.1.1 an answer to HEAD may end by empty DATA",
        answer(*OK, end=False) + data(1, b"", 1),
        "Headers 1 head 1 fields, Data 1 0 octets end",
        HEAD_REQUEST,
    ),
    Case(
        "8.1.1 an answer to HEAD with DATA",
        answer(*OK, end=False) + data(1, b"x", 1),
        "stream 1 PROTOCOL_ERROR",
        HEAD_REQUEST,
    ),
    Case(
        "8.1.1 304 has a length and no body",
        answer((b":status", b"304"), (b"content-length", b"3")),
        "Headers 1 head 2 fields end",
    ),
    Case("8.1.1 304 with DATA", answer((b":status", b"304"), end=False) + data(1, b"x"), "stream 1 PROTOCOL_ERROR"),
    Case("8.1.1 204 with DATA", answer((b":status", b"204"), end=False) + data(1, b"x"), "stream 1 PROTOCOL_ERROR"),
    Case("8.2 an upper-case name", answer(*OK, (b"X-Test", b"ok")), "stream 1 PROTOCOL_ERROR"),
    Case("8.2.1 CR LF in a value", answer(*OK, (b"x", b"a\r\nset-cookie: b")), "stream 1 PROTOCOL_ERROR"),
    Case("8.2.2 a connection-specific field", answer(*OK, (b"connection", b"close")), "stream 1 PROTOCOL_ERROR"),
    Case("8.2.2 transfer-encoding", answer(*OK, (b"transfer-encoding", b"chunked")), "stream 1 PROTOCOL_ERROR"),
    Case("8.3.2 no :status", answer((b"a", b"b")), "stream 1 PROTOCOL_ERROR"),
    Case("8.3.2 :status twice", answer(*OK, *OK), "stream 1 PROTOCOL_ERROR"),
    Case("8.3.2 :status behind another field", answer((b"a", b"b"), *OK), "stream 1 PROTOCOL_ERROR"),
    Case("8.3.2 a request's pseudo-header", answer(*OK, (b":path", b"/")), "stream 1 PROTOCOL_ERROR"),
    *(
        Case(f"8.3.2 :status {text!r}", answer((b":status", text)), "stream 1 PROTOCOL_ERROR")
        for text in (b"", b"20", b"0200", b"099", b"600", b"2 0", b"+20", b"abc")
    ),
    Case(
        "8.5 a granted CONNECT is a tunnel, whatever its content-length",
        answer(*OK, (b"content-length", b"1"), end=False) + data(1, b"tunnel"),
        "Headers 1 head 2 fields, Data 1 6 octets",
        CONNECT,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_client_takes_what_the_rfc_allows(case: Case) -> None:
    connection = client()
    stream = connection.open_stream(case.request, case.request not in (POST, CONNECT))
    connection.take_output()
    events = heard(connection.receive(case.octets))
    output = told(connection)
    kind, _, rest = case.outcome.partition(" ")
    if kind == "connection":
        assert events[-1] == f"ConnectionFailed {rest}"
        assert output[-1] == f"GOAWAY 0 {rest}"
        assert connection.available == 0
        return
    if kind == "stream":
        assert f"RST_STREAM {rest}" in output
        assert events[-1] == f"Reset {rest} local"
    else:
        assert ", ".join(events) == case.outcome
        assert not any(line.startswith(("RST_STREAM", "GOAWAY")) for line in output)
    connection.reset(stream, ErrorCode.CANCEL)
    if connection.gone_away:
        assert connection.available == 0
        return
    following = connection.open_stream(GET, True)
    assert heard(connection.receive(headers(following, OK, 5))) == ["Headers 3 head 1 fields end"]


def test_the_first_frame_of_a_server_is_settings() -> None:
    connection = client(settled=False)
    assert heard(connection.receive(window_update(0, 5))) == ["ConnectionFailed PROTOCOL_ERROR"]


def test_the_peers_limit_of_streams_is_kept() -> None:
    connection = client(settled=False)
    assert connection.available == 100  # until it is known
    connection.receive(settings((3, 2)))
    assert [connection.open_stream(GET, True) for _ in range(3)] == [1, 3, 0]
    connection.receive(headers(1, OK, 5))
    assert connection.available == 1
    connection.receive(settings((3, 0)))
    assert connection.available == 0
    assert connection.open_stream(GET, True) == 0


def test_a_server_without_a_limit_has_none() -> None:
    connection = client()
    assert [connection.open_stream(GET, True) for _ in range(300)] == list(range(1, 600, 2))


def test_1xx_answers_without_end_reset_the_stream() -> None:
    connection = client(limits=Limits(informational=3))
    connection.open_stream(GET, True)
    more = headers(1, [(b":status", b"103")], 4)
    assert heard(connection.receive(more * 3)) == ["Headers 1 informational 1 fields"] * 3
    assert heard(connection.receive(more)) == ["Reset 1 PROTOCOL_ERROR local"]


def test_what_was_on_its_way_to_a_cancelled_stream_is_passed_over_and_its_window_returned() -> None:
    connection = client()
    connection.open_stream(GET, True)
    connection.receive(headers(1, OK, 4) + data(1, bytes(16000)))
    connection.reset(1, ErrorCode.CANCEL)
    for _ in range(40):
        assert connection.receive(data(1, bytes(16000))) == []
    output = told(connection)
    assert "RST_STREAM 1 CANCEL" in output
    returned = sum(int(line.rpartition("+")[2]) for line in output if line.startswith("WINDOW_UPDATE 0"))
    assert returned >= 41 * 16000 - 524_288  # all but less than half a window


def test_a_response_says_how_long_its_body_is() -> None:
    for fields, end, length in (
        ([], False, CHUNKED),
        ([], True, 0),
        ([(b"content-length", b"7")], False, 7),
    ):
        connection = client()
        connection.open_stream(GET, True)
        (event,) = connection.receive(headers(1, [*OK, *fields], 5 if end else 4))
        assert isinstance(event, Headers)
        assert event.length == length


def test_fields_too_large_reset_the_stream_and_leave_the_connection() -> None:
    connection = client()
    connection.open_stream(GET, True)
    connection.open_stream(GET, True)
    assert heard(connection.receive(headers(1, [*OK, *[(b"a", b"b")] * 100], 5))) == ["Reset 1 PROTOCOL_ERROR local"]
    assert told(connection)[-1] == "RST_STREAM 1 PROTOCOL_ERROR"
    assert heard(connection.receive(headers(3, OK, 5))) == ["Headers 3 head 1 fields end"]
