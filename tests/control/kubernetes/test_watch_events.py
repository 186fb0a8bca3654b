"""A watch's bytes, however they are cut, are its events, or are told to be none."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.kubernetes import watch_events
from control.kubernetes.watch_events import EventDecoder, NoWatchEvent, WatchEvent

EVENTS = [
    WatchEvent("ADDED", {"metadata": {"name": "a", "resourceVersion": "5"}}),
    WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
    WatchEvent("ERROR", {"code": 410, "note": "a\nline é"}),
]
BYTES = b"".join(orjson.dumps({"type": each.type, "object": each.object}) + b"\n" for each in EVENTS)


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    decoder, found = EventDecoder(), []
    bounds = [0, *sorted(cuts), len(BYTES)]
    for start, end in itertools.pairwise(bounds):
        found += list(decoder.feed(BYTES[start:end]))
    assert found == EVENTS


@pytest.mark.parametrize(
    "line",
    [
        b"<html>502 Bad Gateway</html>",
        b"[]",
        b'{"type": "GUESS", "object": {}}',
        b'{"type": "ADDED", "object": 1}',
        b'{"type": "ADDED"}',
        b'{"type": ["ADDED"], "object": {}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_is_said_to_be_none_after_the_events_before_it(line: bytes) -> None:
    feeding = EventDecoder().feed(BYTES + line + b"\n")
    assert [next(feeding) for _ in EVENTS] == EVENTS
    with pytest.raises(NoWatchEvent):
        next(feeding)


def test_a_line_without_end_is_bounded() -> None:
    decoder = EventDecoder()
    for _ in range(watch_events.MAX_EVENT_BYTES // 2**16):
        assert list(decoder.feed(b"x" * 2**16)) == []
    with pytest.raises(NoWatchEvent, match="more than"):
        list(decoder.feed(b"x"))


LINES = st.binary(max_size=100) | st.sampled_from([BYTES, b"\n", b'{"type": "ADDED", "object": {}}\n'])


@given(st.lists(LINES, max_size=4).map(b"".join))
def test_any_bytes_come_to_the_same_whole_and_byte_by_byte(data: bytes) -> None:
    assert outcome([data]) == outcome([data[at : at + 1] for at in range(len(data))])


def outcome(pieces: list[bytes]) -> tuple[list[WatchEvent], str]:
    """The events, and why there are no more; empty: there may be."""
    decoder = EventDecoder()
    found: list[WatchEvent] = []
    try:
        for piece in pieces:
            found.extend(decoder.feed(piece))
    except NoWatchEvent as error:
        return found, str(error)
    return found, ""
