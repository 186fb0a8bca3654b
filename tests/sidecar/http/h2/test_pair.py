"""Two of our ends talk to each other: what one sends the other hears, whatever the windows are."""

from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import HEAD, INFORMATIONAL, TRAILERS, Data, Event, GoneAway, Headers, Reset, Writable
from sidecar.http.h2.settings import Settings
from tests.sidecar.http.h2.wire import GET, OK, POST, client, exchange, server


def only(events: list[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_a_request_and_its_response_with_1xx_and_trailers_arrive_whole() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    stream = left.open_stream([*POST, (b"content-length", b"5")], False)
    left.send_data(stream, b"he", False)
    left.send_data(stream, b"llo", True)
    _, heard = exchange(left, right)
    head, first, second = heard
    assert isinstance(head, Headers)
    assert (head.method, head.scheme, head.authority, head.path) == (b"POST", b"http", b"a.b", b"/")
    assert (head.kind, head.length, head.end, head.skip) == (HEAD, 5, False, 4)
    assert [(e.data, e.end) for e in (first, second) if isinstance(e, Data)] == [(b"he", False), (b"llo", True)]
    right.send_headers(stream, [(b":status", b"103"), (b"link", b"</a>")], False)
    right.send_headers(stream, OK, False)
    right.send_data(stream, b"answer", False)
    right.send_headers(stream, [(b"grpc-status", b"0")], True)
    heard, _ = exchange(left, right)
    assert [event.kind for event in heard if isinstance(event, Headers)] == [INFORMATIONAL, HEAD, TRAILERS]
    assert [event.status for event in heard if isinstance(event, Headers)] == [103, 200, 0]
    assert left.open_streams == right.open_streams == 0


def test_a_large_body_flows_as_far_as_the_reader_takes_it() -> None:
    left, right = client(settled=False), server(Settings(initial_window_size=100_000), settled=False)
    exchange(left, right)
    stream = left.open_stream(POST, False)
    left.send_data(stream, bytes(1_000_000), True)
    _, heard = exchange(left, right)
    got = sum(len(event.data) for event in heard if isinstance(event, Data))
    assert got == 100_000
    assert left.queued(stream) == 900_000
    while got < 1_000_000:
        right.consumed(stream, 50_000)
        _, heard = exchange(left, right)
        more = sum(len(event.data) for event in heard if isinstance(event, Data))
        assert 0 < more <= 100_000
        got += more
    assert left.queued(stream) == 0
    assert isinstance(heard[-1], Data)
    assert heard[-1].end


def test_writable_comes_once_when_the_queue_has_drained() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    stream = left.open_stream(POST, False)
    left.send_data(stream, bytes(400_000), False)
    heard_left, _ = exchange(left, right)
    assert only(heard_left, Writable) == []
    assert left.queued(stream) == 400_000 - 262_144
    right.consumed(stream, 262_144)
    heard_left, _ = exchange(left, right)
    assert [event.stream for event in only(heard_left, Writable)] == [stream]
    assert left.queued(stream) == 0


def test_trailers_wait_behind_queued_data() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    stream = left.open_stream(GET, True)
    exchange(left, right)
    right.send_headers(stream, OK, False)
    right.send_data(stream, bytes(300_000), False)
    right.send_headers(stream, [(b"grpc-status", b"0")], True)
    heard, _ = exchange(left, right)
    assert not any(isinstance(event, Headers) and event.kind == TRAILERS for event in heard)
    left.consumed(stream, 262_144)
    heard, _ = exchange(left, right)
    assert isinstance(heard[-1], Headers)
    assert heard[-1].fields == [(b"grpc-status", b"0")]
    assert left.open_streams == right.open_streams == 0


def test_a_reset_goes_both_ways() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    first, second = left.open_stream(GET, True), left.open_stream(GET, True)
    exchange(left, right)
    left.reset(first, ErrorCode.CANCEL)
    right.reset(second, ErrorCode.INTERNAL_ERROR)
    heard_left, heard_right = exchange(left, right)
    assert [(e.stream, e.code, e.local) for e in heard_right if isinstance(e, Reset)] == [(first, 8, False)]
    assert [(e.stream, e.code, e.local) for e in heard_left if isinstance(e, Reset)] == [(second, 2, False)]


def test_a_graceful_goodbye_lets_what_is_on_its_way_finish_and_gives_the_rest_back() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    first = left.open_stream(GET, True)
    exchange(left, right)
    right.goaway(ErrorCode.NO_ERROR, graceful=True)
    late = left.open_stream(GET, True)  # sent before the goodbye was read
    heard_left, heard_right = exchange(left, right)
    assert [e.last_stream for e in heard_left if isinstance(e, GoneAway)] == [2**31 - 1]
    assert [e.stream for e in heard_right] == [late]
    assert left.available == 0
    assert left.open_stream(GET, True) == 0
    right.goaway(ErrorCode.NO_ERROR, graceful=False)
    exchange(left, right)
    for stream in (first, late):
        right.send_headers(stream, OK, True)
    heard_left, _ = exchange(left, right)
    assert [(e.stream, e.status) for e in heard_left if isinstance(e, Headers)] == [(first, 200), (late, 200)]


def test_a_goaway_gives_back_the_streams_that_it_leaves_out() -> None:
    left, right = client(settled=False), server(settled=False)
    exchange(left, right)
    left.open_stream(GET, True)
    exchange(left, right)
    left.open_stream(GET, True)
    right.goaway(ErrorCode.NO_ERROR, graceful=False)
    heard_left, heard_right = exchange(left, right)
    assert [(e.stream, e.code) for e in heard_left if isinstance(e, Reset)] == [(3, ErrorCode.REFUSED_STREAM)]
    assert heard_right == []  # it came behind the goodbye
