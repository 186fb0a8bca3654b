"""What a reader may take: between calls a stated few KiB, during one call a multiple of what it was fed."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.http.h1_lines import MAX_TARGET_BYTES, MEMORY_LINE_BYTES, MEMORY_LINES, REQUEST_FIELDS
from sidecar.http.h1_request import MAX_EARLY_BYTES, RequestReader
from sidecar.http.h1_response import MAX_HEADER_BYTES, MAX_REASON_BYTES, ResponseReader

HELD_BYTES = max(60 * 1024 + MAX_TARGET_BYTES, MAX_EARLY_BYTES) + 16 * 1024
"""Between calls: a head or what came early, and the objects that it is kept in."""

PER_BYTE = 40
"""Of the events of one call."""

START = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FED = 1024 * 1024

ENDLESS = {
    "a method": (b"", b"A" * 1024),
    "a target": (b"GET /", b"a" * 1024),
    "a field's name": (START, b"a" * 1024),
    "a field's value": (START + b"A: ", b"b" * 1024),
    "fields": (START, b"A: b\r\n"),
    "large fields": (START, b"A: " + b"b" * 1000 + b"\r\n"),
    "empty lines": (b"", b"\r\n"),
    "bare CRs": (b"", b"\r"),
    "bare LFs": (b"", b"\n"),
    "a chunk size": (CHUNKED, b"0" * 1024),
    "a chunk extension": (CHUNKED + b"5;", b"a" * 1024),
    "chunk extensions": (CHUNKED, b"1;" + b"a" * 100 + b"\r\na\r\n"),
    "small chunks": (CHUNKED, b"1\r\na\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n"),
    "a trailer": (CHUNKED + b"0\r\nA: ", b"b" * 1024),
    "a body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999\r\n\r\n", b"a" * 1024),
    "requests": (b"", START + b"\r\n"),
    "what comes before an upgrade's answer": (START + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n", b"a" * 1024),
    "NULs": (b"", b"\x00" * 1024),
}

ENDLESS_ANSWERS = {
    "a version": (b"", b"H" * 1024),
    "a reason": (b"HTTP/1.1 200 ", b"a" * 1024),
    "a value": (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 1024),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "informational answers": (b"", b"HTTP/1.1 103 Early\r\n\r\n"),
    "a chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1024),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 1024),
    "answers": (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@contextmanager
def measured() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def check(receive: Callable[[bytes], object], start: bytes, more: bytes, piece: int) -> None:
    """Feed without end; look at what is kept each time, and at the peak of each call."""
    stream = start + more * (FED // len(more))
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    with measured():
        for data in pieces:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            receive(data)
            after, peak = tracemalloc.get_traced_memory()
            assert after < HELD_BYTES, "kept between calls"
            assert peak - before < PER_BYTE * len(data) + 2 * HELD_BYTES, "taken during a call"


@pytest.mark.parametrize("piece", [1000, 256 * 1024], ids=["in small pieces", "in large pieces"])
@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_a_request_without_end_is_held_within_bounds(start: bytes, more: bytes, piece: int) -> None:
    check(RequestReader(tunnels=True).receive, start, more, piece)


@pytest.mark.parametrize("piece", [1000, 256 * 1024], ids=["in small pieces", "in large pieces"])
@pytest.mark.parametrize(("start", "more"), ENDLESS_ANSWERS.values(), ids=ENDLESS_ANSWERS)
def test_an_answer_without_end_is_held_within_bounds(start: bytes, more: bytes, piece: int) -> None:
    reader = ResponseReader()
    reader.expect(b"GET")
    assert MAX_HEADER_BYTES + MAX_REASON_BYTES < HELD_BYTES
    check(reader.receive, start, more, piece)


@settings(max_examples=60)
@given(st.lists(st.sampled_from([b"\r\n", b"A: b\r\n", b"0\r\n", b"5;a\r\nhello\r\n", START, CHUNKED]) | st.binary()))
def test_whatever_comes_the_reader_holds_no_more_than_it_says(pieces: list[bytes]) -> None:
    reader = RequestReader(tunnels=True)
    with measured():
        for piece in pieces:
            reader.receive(piece)
        kept, _ = tracemalloc.get_traced_memory()
    assert kept < HELD_BYTES


def test_the_memory_of_field_lines_is_bounded() -> None:
    reader = RequestReader()
    for number in range(3 * MEMORY_LINES):
        events = reader.receive(b"%bX-%d: %b\r\n\r\n" % (START, number, b"a" * (MEMORY_LINE_BYTES - 12)))
        assert len(events) == 2
        assert len(REQUEST_FIELDS.young) <= MEMORY_LINES


def test_credentials_and_long_lines_are_not_remembered() -> None:
    fields = [
        *[
            b"Authorization: Bearer x\r",
            b"Cookie: a=b\r",
            b"X-Api-Key: 1\r",
            b"X-Auth-Token: 2\r",
            b"X-Request-Id: 3\r",
        ],
        b"X-Long: " + b"a" * MEMORY_LINE_BYTES + b"\r",
    ]
    RequestReader().receive(START + b"".join(field + b"\n" for field in fields) + b"\r\n")

    assert not set(fields) & set(REQUEST_FIELDS.young)
    assert b"Host: a\r" in REQUEST_FIELDS.young
