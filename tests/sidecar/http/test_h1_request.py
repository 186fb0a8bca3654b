"""What a client may send, what it is refused with, byte tables."""

import pytest

from sidecar.http.errors import ProtocolError
from sidecar.http.h1_request import RequestEvent, RequestReader
from sidecar.http.head import CHUNKED, END, RequestHead, Trailers
from tests.sidecar.http.refused import REFUSED, START, chunked


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


def test_the_preface_of_http_2_is_no_request() -> None:
    assert refusal_of(read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).status == 400


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

    assert (head.method, head.authority, head.target, head.upgrade) == (b"CONNECT", b"db.example:5432", b"", b"connect")
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
