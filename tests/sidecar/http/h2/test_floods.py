"""Each flood ends in GOAWAY at its stated bound, and memory stays flat up to there."""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import ConnectionFailed, Event
from sidecar.http.h2.settings import Limits, Settings
from tests.sidecar.http.h2.wire import (
    ACK,
    CONTINUATION,
    DATA,
    GET,
    HEADERS,
    OK,
    PADDED,
    PING,
    POST,
    PRIORITY,
    Clock,
    block,
    client,
    data,
    frame,
    goaway,
    headers,
    heard,
    rst_stream,
    server,
    settings,
    told,
    window_update,
)

LIMITS = Limits()
FLAT = 64 * 1024
"""Octets that a flood may leave behind: the connection's own state, at its bounds."""

Step = Iterator[bytes]


def rapid_reset() -> Step:
    """CVE-2023-44487: requests that are cancelled as soon as they are sent."""
    for stream in count(1, 2):
        yield headers(stream, GET, 5) + rst_stream(stream, 8)


def made_you_reset_by_window() -> Step:
    """CVE-2025-8671: a valid request, then a frame that makes the server reset its own stream."""
    for stream in count(1, 2):
        yield headers(stream, GET, 5) + window_update(stream, 0)


def made_you_reset_by_overflow() -> Step:
    for stream in count(1, 2):
        yield headers(stream, GET, 5) + window_update(stream, 2**31 - 1)


def made_you_reset_by_data() -> Step:
    for stream in count(1, 2):
        yield headers(stream, GET, 5) + data(stream, b"behind the end")


def made_you_reset_by_priority() -> Step:
    for stream in count(1, 2):
        yield headers(stream, POST) + frame(PRIORITY, 0, stream, b"\0\0")


def malformed_requests() -> Step:
    for stream in count(1, 2):
        yield headers(stream, [*GET, (b"Bad", b"")], 5)


def refused_streams() -> Step:
    for stream in range(1, 200, 2):
        yield headers(stream, POST)
    for stream in count(201, 2):
        yield headers(stream, GET, 5)


def too_large_requests() -> Step:
    for stream in count(1, 2):
        yield headers(stream, [*GET, *[(b"a", b"b")] * 100], 5)


def pings() -> Step:
    return iter(lambda: frame(PING, 0, 0, b"12345678"), b"")


def ping_answers() -> Step:
    return iter(lambda: frame(PING, ACK, 0, b"12345678"), b"")


def many_settings() -> Step:
    return iter(lambda: settings((4, 1), (4, 100_000)), b"")


def empty_data() -> Step:
    yield headers(1, POST)
    yield from iter(lambda: data(1, b""), b"")


def padded_nothing() -> Step:
    yield headers(1, POST)
    yield from iter(lambda: frame(DATA, PADDED, 1, b"\x00"), b"")


def priorities() -> Step:
    for stream in count(1, 2):
        yield frame(PRIORITY, 0, stream, (stream + 2).to_bytes(4, "big") + b"\0")


def unknown_frames() -> Step:
    return iter(lambda: frame(0x10, 0, 0, b"x"), b"")


def window_updates() -> Step:
    return iter(lambda: window_update(0, 1), b"")


def window_updates_of_a_stream() -> Step:
    yield headers(1, GET, 5)
    yield from iter(lambda: window_update(1, 1), b"")


def empty_continuations() -> Step:
    """CVE-2024-27316."""
    yield frame(HEADERS, 1, 1, b"")
    yield from iter(lambda: frame(CONTINUATION, 0, 1, b""), b"")


def full_continuations() -> Step:
    yield frame(HEADERS, 1, 1, bytes(16384))
    yield from iter(lambda: frame(CONTINUATION, 0, 1, bytes(16384)), b"")


def resets_of_what_is_over() -> Step:
    yield headers(1, GET, 5) + rst_stream(1, 8)
    yield from iter(lambda: rst_stream(1, 8), b"")


def data_of_what_is_over() -> Step:
    yield headers(1, [*POST, (b"Bad", b"")])
    yield from iter(lambda: data(1, b"x"), b"")


def goodbyes() -> Step:
    return iter(lambda: goaway(0, 0), b"")


CALM = "ENHANCE_YOUR_CALM"
FLOODS: list[tuple[Callable[[], Step], int]] = [
    # What, and at which step it is over: bounds of Limits, in steps.
    (rapid_reset, LIMITS.resets + 1),
    (made_you_reset_by_window, LIMITS.resets + 1),
    (made_you_reset_by_overflow, LIMITS.resets + 1),
    (made_you_reset_by_data, LIMITS.resets + 1),
    (made_you_reset_by_priority, LIMITS.resets + 1),
    (malformed_requests, LIMITS.resets + 1),
    (refused_streams, 100 + LIMITS.resets + 1),
    (too_large_requests, LIMITS.resets + 1),
    (pings, LIMITS.pings + 1),
    (ping_answers, LIMITS.pings + 1),
    (many_settings, LIMITS.settings),  # one more than those of the handshake
    (empty_data, 1 + LIMITS.empty_data + 1),
    (padded_nothing, 1 + LIMITS.empty_data + 1),
    (priorities, LIMITS.priority_per_stream + 1),
    (unknown_frames, LIMITS.priority_per_stream + 1),
    (window_updates, 5 + 1),
    (window_updates_of_a_stream, 1 + 7 + 1),
    (empty_continuations, 1 + LIMITS.continuations + 1),
    (full_continuations, 1 + 8),  # 128 KiB
    (resets_of_what_is_over, 1 + LIMITS.late_frames + 1),
    (data_of_what_is_over, 1 + LIMITS.late_frames + 1),
    (goodbyes, LIMITS.settings + 1),
]


def send(connection: H2Connection, steps: list[bytes], *, reading: bool) -> tuple[int, list[Event]]:
    """Until the connection fails: at which step, and what was told then. `reading`: the peer takes the answers."""
    for number, step in enumerate(steps, 1):
        events = connection.receive(step)
        if reading:
            connection.take_output()
        if connection.failed:
            return number, events
    raise AssertionError("the flood went on")


@pytest.mark.parametrize(("flood", "bound"), FLOODS, ids=[flood.__name__.replace("_", " ") for flood, _ in FLOODS])
def test_a_flood_is_over_at_its_bound_and_leaves_no_memory_behind(flood: Callable[[], Step], bound: int) -> None:
    connection = server()
    steps = list(islice(flood(), bound + 50))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        number, events = send(connection, steps, reading=True)
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert number == bound
    assert heard(events)[-1] == f"ConnectionFailed {CALM}"
    assert left < FLAT
    assert connection.receive(frame(PING, 0, 0, bytes(8))) == []


@pytest.mark.parametrize(
    ("flood", "limits"),
    [
        pytest.param(pings, Limits(pings=10**9), id="PINGs"),
        pytest.param(many_settings, Limits(settings=10**9), id="SETTINGS"),
        pytest.param(malformed_requests, Limits(resets=10**9), id="requests that are reset"),
        pytest.param(made_you_reset_by_window, Limits(resets=10**9), id="frames that make us reset"),
    ],
)
def test_answers_that_nobody_reads_are_bounded(flood: Callable[[], Step], limits: Limits) -> None:
    """The other limits apart: 1000 answers wait, the next ends the connection."""
    connection = server(limits=limits)
    steps = list(islice(flood(), 1100))
    number, events = send(connection, steps, reading=False)
    assert number == limits.control_frames + 1
    assert heard(events)[-1] == f"ConnectionFailed {CALM}"
    assert connection.output_octets < 32 * 1024


def test_one_delivery_full_of_pings_is_bounded_too() -> None:
    connection = server(limits=Limits(pings=10**9))
    events = connection.receive(frame(PING, 0, 0, bytes(8)) * 50_000)
    assert heard(events) == [f"ConnectionFailed {CALM}"]
    assert connection.output_octets < 32 * 1024


def test_a_header_bomb_is_decoded_to_its_bound_only() -> None:
    """4,000 octets in the table, referred to by one octet each: 64 MB of fields from 16 KiB."""
    entry = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000
    bomb = block(GET) + entry + b"\xbe" * (16384 - len(entry) - 30)
    connection = server()
    step = frame(HEADERS, 5, 1, bomb)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        events = connection.receive(step)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert heard(events) == [f"ConnectionFailed {CALM}"]
    assert peak < 128 * 1024


def test_a_large_head_that_is_no_bomb_costs_the_stream_only() -> None:
    connection = server()
    fields = [*GET, *[(b"x", b"y" * 4000)] * 20]
    octets = block(fields)
    assert len(octets) > 61_440
    pieces = [octets[at : at + 16384] for at in range(0, len(octets), 16384)]
    sent = frame(HEADERS, 1, 1, pieces[0]) + b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1])
    assert heard(connection.receive(sent + frame(CONTINUATION, 4, 1, pieces[-1]))) == ["Refused 1 NO_ERROR"]
    assert told(connection) == ["HEADERS 1 end", "RST_STREAM 1 NO_ERROR"]


def test_many_tiny_fields_are_counted_not_kept() -> None:
    """16,000 fields of no size from 16 KiB: they count 32 octets each (6.5.2)."""
    connection = server()
    events = connection.receive(frame(HEADERS, 5, 1, block(GET) + b"\x40\x01a\x00" + b"\xbe" * 16_000))
    assert heard(events) == [f"ConnectionFailed {CALM}"]


def test_limits_are_per_window() -> None:
    clock = Clock()
    connection = server(clock=clock)
    for stream in range(1, 20_000, 2):
        connection.receive(headers(stream, GET, 5) + rst_stream(stream, 8))
        connection.take_output()
        clock.now += 10.0 / LIMITS.resets + 0.001
    assert not connection.failed


def test_pings_between_data_are_free() -> None:
    """Peers that measure bandwidth ping once per flight, at any rate."""
    connection = server()
    connection.receive(headers(1, POST))
    for _ in range(5 * LIMITS.pings):
        connection.receive(data(1, b"x") + frame(PING, 0, 0, bytes(8)))
        connection.consumed(1, 1)
        connection.take_output()
    assert not connection.failed


def test_window_updates_that_data_caused_are_free() -> None:
    connection = server()
    connection.receive(headers(1, GET, 5))
    connection.send_headers(1, OK, False)
    for _ in range(1000):
        connection.send_data(1, b"x", False)
        connection.receive(window_update(0, 1) + window_update(1, 1))
        connection.take_output()
    assert not connection.failed


def test_a_peer_may_return_a_large_frame_piece_by_piece() -> None:
    connection = client()
    connection.receive(settings((5, 65_536), (4, 2**31 - 1)) + window_update(0, 2**30))
    stream = connection.open_stream(POST, False)
    for _ in range(100):
        connection.send_data(stream, bytes(65_536), False)
        for _ in range(64):
            connection.receive(window_update(0, 1024) + window_update(stream, 1))
        connection.take_output()
    assert not connection.failed


def test_what_the_application_resets_is_not_the_clients_doing() -> None:
    connection = server()
    for stream in range(1, 4 * LIMITS.resets, 2):
        connection.receive(headers(stream, POST))
        connection.send_headers(stream, OK, True)
        connection.reset(stream, ErrorCode.NO_ERROR)
        connection.take_output()
    assert not connection.failed


def test_a_server_may_reset_what_a_client_asked_for() -> None:
    connection = client()
    for _ in range(2 * LIMITS.resets):
        stream = connection.open_stream(GET, True)
        connection.receive(rst_stream(stream, 7))
        connection.take_output()
    assert not connection.failed


def test_many_requests_leave_nothing_behind() -> None:
    connection = server(Settings())

    def serve(first: int, last: int) -> None:
        for stream in range(first, last, 2):
            connection.receive(headers(stream, [*GET, (b"x-request-id", b"%d" % stream)], 5))
            connection.send_headers(stream, OK, False)
            connection.send_data(stream, b"x", True)
            connection.take_output()

    connection.receive(window_update(0, 10_000_000))
    serve(1, 2001)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        serve(2001, 10_001)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 16 * 1024
    assert connection.open_streams == 0


def test_the_failure_is_the_last_event() -> None:
    connection = server()
    events = connection.receive(headers(1, GET, 5) + frame(PING, 0, 1, bytes(8)) + headers(3, GET, 5))
    assert isinstance(events[-1], ConnectionFailed)
    assert heard(events) == ["Headers 1 head 4 fields end", "ConnectionFailed PROTOCOL_ERROR"]
    assert told(connection) == ["GOAWAY 1 PROTOCOL_ERROR"]
