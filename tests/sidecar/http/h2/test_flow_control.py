"""Windows: what may be sent, who takes turns, what is returned and when. RFC 9113 5.2, 6.5.2, 6.9."""

import pytest

from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode, Misuse
from sidecar.http.h2.settings import Settings
from tests.sidecar.http.h2.wire import (
    GET,
    OK,
    PADDED,
    POST,
    client,
    data,
    frame,
    headers,
    heard,
    parse,
    rst_stream,
    server,
    settings,
    told,
    window_update,
)


def answering(*streams: int, window: int = 65535) -> H2Connection:
    """A server that has requests on `streams`, whose client gives each this window."""
    connection = server()
    connection.receive(settings((4, window)) + b"".join(headers(stream, GET, 5) for stream in streams))
    for stream in streams:
        connection.send_headers(stream, OK, False)
    connection.take_output()
    return connection


def sent(connection: H2Connection) -> list[tuple[int, int, bool]]:
    """DATA frames in the output: stream, octets, whether it ends."""
    return [
        (stream, len(payload), bool(flags & 1))
        for name, flags, stream, payload in parse(connection.take_output())
        if name == "DATA"
    ]


def test_no_more_is_sent_than_the_streams_window() -> None:
    connection = answering(1, window=10)
    connection.send_data(1, b"0123456789abc", True)
    assert sent(connection) == [(1, 10, False)]
    assert connection.queued(1) == 3
    connection.receive(window_update(1, 1))
    assert sent(connection) == [(1, 1, False)]
    connection.receive(window_update(1, 100))
    assert sent(connection) == [(1, 2, True)]


def test_no_more_is_sent_than_the_connections_window() -> None:
    connection = answering(1, window=1_000_000)
    connection.send_data(1, bytes(100_000), True)
    assert sum(size for _, size, _ in sent(connection)) == 65_535
    connection.receive(window_update(1, 50_000))
    assert sent(connection) == []
    connection.receive(window_update(0, 50_000))
    assert sum(size for _, size, _ in sent(connection)) == 100_000 - 65_535


def test_an_end_by_itself_needs_no_window() -> None:
    connection = answering(1, window=3)
    connection.send_data(1, b"abc", False)
    connection.send_data(1, b"", True)
    assert sent(connection) == [(1, 3, False), (1, 0, True)]


def test_an_end_waits_behind_what_is_queued() -> None:
    connection = answering(1, window=3)
    connection.send_data(1, b"abcd", False)
    connection.send_data(1, b"", True)
    assert sent(connection) == [(1, 3, False)]
    connection.receive(window_update(1, 9))
    assert sent(connection) == [(1, 1, True)]
    assert connection.open_streams == 0


def test_settings_can_make_a_window_negative_and_it_must_grow_back() -> None:
    connection = answering(1, window=100)
    connection.send_data(1, bytes(60), False)
    connection.receive(settings((4, 20)))  # 100 - 60 - 80 = -40
    connection.send_data(1, bytes(10), True)
    assert sent(connection) == [(1, 60, False)]
    connection.receive(window_update(1, 40))
    assert sent(connection) == []
    connection.receive(window_update(1, 1))
    assert sent(connection) == [(1, 1, False)]
    connection.receive(settings((4, 1000)))
    assert sent(connection) == [(1, 9, True)]


def test_an_end_goes_out_also_while_a_window_is_negative() -> None:
    connection = answering(1, window=100)
    connection.send_data(1, bytes(60), False)
    connection.receive(settings((4, 0)))
    connection.take_output()
    connection.send_data(1, b"", True)
    assert sent(connection) == [(1, 0, True)]


def test_frames_are_no_larger_than_the_peer_takes() -> None:
    connection = answering(1, window=65535)
    connection.send_data(1, bytes(40_000), False)
    assert [size for _, size, _ in sent(connection)] == [16384, 16384, 40_000 - 2 * 16384]
    connection.receive(settings((5, 20_000)))
    connection.send_data(1, bytes(20_001), False)
    assert [size for _, size, _ in sent(connection)] == [20_000, 1]


def test_streams_that_wait_for_the_connections_window_take_turns() -> None:
    connection = answering(1, 3, 5, window=1_000_000)
    connection.send_data(1, bytes(65_535), False)
    for stream in (1, 3, 5):
        connection.send_data(stream, bytes(40_000), True)
    connection.take_output()
    connection.receive(window_update(0, 60_000))
    assert [(stream, size) for stream, size, _ in sent(connection)][:4] == [
        (1, 16384),
        (3, 16384),
        (5, 16384),
        (1, 10848),
    ]


def test_a_stream_without_window_does_not_hold_up_the_others() -> None:
    connection = answering(1, 3, window=10)
    connection.send_data(1, bytes(100), True)
    connection.send_data(3, bytes(10), True)
    assert sent(connection) == [(1, 10, False), (3, 10, True)]


def test_headers_behind_queued_data_come_after_it() -> None:
    connection = answering(1, window=3)
    connection.send_data(1, b"abcdef", False)
    connection.send_headers(1, [(b"grpc-status", b"0")], True)
    assert told(connection) == ["DATA 1"]
    connection.receive(window_update(1, 3))
    assert told(connection) == ["DATA 1", "HEADERS 1 end"]
    assert connection.open_streams == 0


def test_what_was_queued_for_a_reset_stream_is_gone() -> None:
    connection = answering(1, 3, window=10)
    connection.send_data(1, bytes(100), False)
    connection.send_data(3, bytes(100), False)
    connection.take_output()
    connection.receive(rst_stream(1, 8))
    connection.reset(3, ErrorCode.CANCEL)
    assert connection.queued(1) == connection.queued(3) == 0
    connection.receive(window_update(0, 1000) + window_update(1, 1000))
    assert told(connection) == ["RST_STREAM 3 CANCEL"]
    connection.send_data(1, b"x", True)  # whoever has not heard of it yet
    connection.send_headers(3, OK, True)
    assert connection.take_output() == b""


def test_writable_is_told_once_per_time_that_something_was_queued() -> None:
    connection = answering(1, window=10)
    connection.send_data(1, bytes(50_000), False)
    assert heard(connection.receive(window_update(1, 1000))) == []
    assert heard(connection.receive(window_update(1, 40_000))) == ["Writable 1"]
    assert heard(connection.receive(window_update(1, 5))) == []
    connection.send_data(1, bytes(20_000), False)
    assert heard(connection.receive(window_update(1, 60_000) + window_update(0, 60_000))) == ["Writable 1"]


def test_nothing_is_sent_behind_an_end() -> None:
    connection = client()
    stream = connection.open_stream(GET, True)
    with pytest.raises(Misuse):
        connection.send_data(stream, b"x", False)
    with pytest.raises(Misuse):
        connection.send_headers(stream, [(b"a", b"b")], True)


# What we let the peer send


def test_window_is_returned_when_half_of_it_has_been_taken() -> None:
    connection = server(Settings(initial_window_size=100_000, connection_window_size=200_000))
    connection.receive(headers(1, POST))
    connection.receive(data(1, bytes(16000)) * 5)
    connection.consumed(1, 49_999)
    assert told(connection) == []
    connection.consumed(1, 1)
    assert told(connection) == ["WINDOW_UPDATE 1 +50000"]
    connection.consumed(1, 30_000)
    connection.receive(data(1, bytes(16000)) * 2)
    connection.consumed(1, 20_000)
    assert told(connection) == ["WINDOW_UPDATE 0 +100000", "WINDOW_UPDATE 1 +50000"]


def test_more_than_the_streams_window_resets_the_stream() -> None:
    connection = server(Settings(initial_window_size=65_535))
    connection.receive(headers(1, POST) + data(1, bytes(16_383)) * 4)
    assert heard(connection.receive(data(1, bytes(4)))) == ["Reset 1 FLOW_CONTROL_ERROR local"]


def test_more_than_the_connections_window_ends_the_connection() -> None:
    connection = server(Settings(initial_window_size=1_000_000, connection_window_size=65_535))
    connection.receive(headers(1, POST) + headers(3, POST) + data(1, bytes(16_000)) * 4)
    assert heard(connection.receive(data(3, bytes(1_536)))) == ["ConnectionFailed FLOW_CONTROL_ERROR"]


def test_a_smaller_window_binds_only_a_client_that_knows_of_it() -> None:
    connection = server(Settings(initial_window_size=1000), settled=False)
    from_client = headers(1, POST) + data(1, bytes(5000))
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings())
    assert heard(connection.receive(from_client)) == ["Headers 1 head 4 fields", "Data 1 5000 octets"]
    connection.receive(settings(flags=1))  # now 1000 - 5000
    assert heard(connection.receive(data(1, b"x"))) == ["Reset 1 FLOW_CONTROL_ERROR local"]
    assert heard(connection.receive(headers(3, POST) + data(3, bytes(1001))))[-1] == "Reset 3 FLOW_CONTROL_ERROR local"


def test_padding_counts_and_is_returned_with_the_data() -> None:
    connection = server(Settings(initial_window_size=100_000))
    connection.receive(headers(1, POST))
    (event,) = connection.receive(frame(0, PADDED, 1, b"\x64" + b"body" + bytes(100)))
    assert event.flow == 105  # type: ignore[attr-defined]
    assert event.data == b"body"  # type: ignore[attr-defined]


def test_window_of_a_stream_that_is_over_is_returned_to_the_connection() -> None:
    connection = server(Settings(initial_window_size=65_535, connection_window_size=65_535))
    for stream in range(1, 21, 2):
        connection.receive(headers(stream, POST) + data(stream, bytes(16_000)))
        connection.receive(rst_stream(stream, 8))
        connection.consumed(stream, 16_000)  # too late, and not counted twice
    output = told(connection)
    returned = sum(int(line.rpartition("+")[2]) for line in output if line.startswith("WINDOW_UPDATE 0"))
    assert 160_000 - 32_767 < returned <= 160_000


def test_nobody_can_consume_more_than_came() -> None:
    connection = server(Settings(initial_window_size=100))
    connection.receive(headers(1, POST) + data(1, bytes(60)))
    connection.consumed(1, 1_000_000)
    assert told(connection) == ["WINDOW_UPDATE 1 +60"]
