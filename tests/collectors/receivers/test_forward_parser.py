import gzip
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from fluent.sender import EventTime
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.receivers.compression import BrokenCompression, InflatesTooFar, inflate
from collectors.receivers.entries import Event
from collectors.receivers.forward_parser import (
    EVENT_BYTES,
    Delivery,
    ForwardParser,
    ParserLimits,
    ProtocolError,
    render_ack,
)

SMALL = ParserLimits(max_message_bytes=4096, max_inflated_bytes=8192, max_elements=2000, max_array=64, max_map=64)


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


def packed(*events: tuple[float, dict[str, Any]]) -> bytes:
    return b"".join(pack(list(event)) for event in events)


def parse(data: bytes, limits: ParserLimits | None = None) -> list[Delivery]:
    return ForwardParser(limits).feed(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(pack(["t", 5, {"a": 1}]), [Event(5.0, {"a": 1})], id="Message mode"),
        pytest.param(pack(["t", 5, {"a": 1}, None]), [Event(5.0, {"a": 1})], id="Message mode with nil options"),
        pytest.param(pack(["t", EventTime(5, 500_000_000), {"a": 1}]), [Event(5.5, {"a": 1})], id="EventTime"),
        pytest.param(pack(["t", 5.25, {}]), [Event(5.25, {})], id="a float time"),
        pytest.param(pack(["t", -1, {}]), [Event(None, {})], id="a time before the epoch is no time"),
        pytest.param(pack(["t", 2**63, {}]), [Event(None, {})], id="an absurd time is no time"),
        pytest.param(
            pack(["t", [[1, {"a": 1}], [2, {"b": 2}]]]),
            [Event(1.0, {"a": 1}), Event(2.0, {"b": 2})],
            id="Forward mode",
        ),
        pytest.param(pack(["t", []]), [], id="Forward mode without entries"),
        pytest.param(
            pack(["t", packed((1, {"a": 1}), (2, {"b": 2})), {"size": 2}]),
            [Event(1.0, {"a": 1}), Event(2.0, {"b": 2})],
            id="PackedForward mode",
        ),
        pytest.param(
            b"\x92\xa1t\xd9" + bytes([len(packed((1, {"a": "é"})))]) + packed((1, {"a": "é"})),
            [Event(1.0, {"a": "é"})],
            id="PackedForward whose entries are a str",
        ),
        pytest.param(
            pack(["t", gzip.compress(packed((1, {"a": 1}))), {"compressed": "gzip"}]),
            [Event(1.0, {"a": 1})],
            id="CompressedPackedForward mode",
        ),
        pytest.param(
            pack(["t", gzip.compress(packed((1, {}))) + gzip.compress(packed((2, {}))), {"compressed": "gzip"}]),
            [Event(1.0, {}), Event(2.0, {})],
            id="compressed entries of two members",
        ),
        pytest.param(
            pack(["t", 5, {"a": b"\xff", "b": {"c": [b"x", None, 1.5, True]}}]),
            [Event(5.0, {"a": "�", "b": {"c": ["x", None, 1.5, True]}})],
            id="bytes become text",
        ),
        pytest.param(b"\x93\xa1t\x05\x81\xa1a\xa2\xff\xfe", [Event(5.0, {"a": "��"})], id="str that is no UTF-8"),
        pytest.param(b"\x93\xa1t\x05\x81\xa1a\xa3\xed\xa0\x80", [Event(5.0, {"a": "���"})], id="an encoded surrogate"),
        pytest.param(
            pack(["t", 5, {"x": msgpack.ExtType(7, b"\1"), "f": float("inf")}]),
            [Event(5.0, {"x": "ext7:01", "f": "inf"})],
            id="what JSON lacks becomes text",
        ),
    ],
)
def test_every_mode_is_understood(data: bytes, expected: list[Event]) -> None:
    (delivery,) = parse(data)
    assert delivery.tag == "t"
    assert delivery.events == expected


def test_one_odd_entry_among_many_plain_ones_changes_no_other() -> None:
    plain = [(number, {"n": number, "text": "é", "ratio": 0.5}) for number in range(3_000)]
    plain[1_500] = (1_500, {"n": float("nan"), "nested": {"bytes": b"x"}})
    (delivery,) = parse(pack(["t", packed(*plain)]))
    expected = [Event(float(time), record) for time, record in plain]
    expected[1_500] = Event(1_500.0, {"n": "nan", "nested": {"bytes": "x"}})
    assert delivery.events == expected
    (as_list,) = parse(pack(["t", [list(entry) for entry in plain]]))
    assert as_list.events == expected


def test_chunk_ids_are_kept_for_the_acknowledgement() -> None:
    (delivery,) = parse(pack(["t", packed((1, {})), {"chunk": "p8n9gmxTQVC8/nh2wlKKeQ=="}]))
    assert delivery.chunk == "p8n9gmxTQVC8/nh2wlKKeQ=="
    assert msgpack.unpackb(render_ack(delivery.chunk)) == {"ack": delivery.chunk}


def test_nil_is_a_heartbeat() -> None:
    assert parse(b"\xc0" + pack(["t", 5, {}]) + b"\xc0") == parse(pack(["t", 5, {}]))


def nested(depth: int) -> bytes:
    return b"\x93\xa1t\x05\x81\xa1a" + b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc1", id="a byte that msgpack never uses"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="a TLS hello on a plaintext port"),
        pytest.param(pack("text"), id="no array"),
        pytest.param(pack({}), id="a map"),
        pytest.param(pack([]), id="an empty array"),
        pytest.param(pack(["t"]), id="a tag alone"),
        pytest.param(pack(["t", 5]), id="no record"),
        pytest.param(pack(["t", 5, {}, {}, 1]), id="too many elements"),
        pytest.param(pack(["", 5, {}]), id="an empty tag"),
        pytest.param(pack(["t" * 1000, 5, {}]), id="a giant tag"),
        pytest.param(pack([5, 5, {}]), id="a number as tag"),
        pytest.param(pack(["t", True, {}]), id="a boolean as time"),
        pytest.param(pack(["t", None, {}]), id="no time"),
        pytest.param(pack(["t", {}, {}]), id="a map as time"),
        pytest.param(pack(["t", 5, []]), id="a list as record"),
        pytest.param(pack(["t", 5, {1: 2}]), id="a number as key"),
        pytest.param(pack(["t", [[5]]]), id="an entry without record"),
        pytest.param(pack(["t", [5]]), id="a number as entry"),
        pytest.param(pack(["t", packed((1, {}))[:-1] + b"\x81"]), id="packed entries cut off"),
        pytest.param(pack(["t", b"\xc1"]), id="packed entries that are none"),
        pytest.param(pack(["t", b"", "x"]), id="options that are no map"),
        pytest.param(pack(["t", b"", {"chunk": 5}]), id="a number as chunk id"),
        pytest.param(pack(["t", b"", {"junk": "x" * 66_000}]), id="giant options"),
        pytest.param(pack(["t", packed((1, {}), (2, {}))[:-1]]), id="packed entries without the last one's record"),
        pytest.param(pack(["t", b"\xc0"]), id="a nil among packed entries"),
        pytest.param(pack(["t", b"", {"chunk": "c" * 1000}]), id="a giant chunk id"),
        pytest.param(pack(["t", b"", {"compressed": "zstd"}]), id="a compression that we do not know"),
        pytest.param(pack(["t", b"abc", {"compressed": "gzip"}]), id="broken gzip"),
        pytest.param(pack(["t", gzip.compress(b"x" * 99)[:-9], {"compressed": "gzip"}]), id="gzip that ends early"),
        pytest.param(pack(["t", gzip.compress(bytes(9000)), {"compressed": "gzip"}]), id="gzip that inflates too far"),
        pytest.param(pack(["t", [[1, {}]], {"compressed": "gzip"}]), id="compressed entries that are not packed"),
        pytest.param(nested(40), id="a deep record"),
        pytest.param(nested(1000), id="a very deep record"),
        pytest.param(nested(3000), id="deeper than the decoder goes"),
        pytest.param(pack(["t", 5, {"a": list(range(65))}]), id="a long list"),
        pytest.param(pack(["t", 5, {str(key): 1 for key in range(65)}]), id="a large map"),
        pytest.param(pack(["t", [[0, {}]] * 1500]), id="too many values"),
        pytest.param(pack(["t", 5, {"a": "x" * 5000}]), id="a large message"),
        pytest.param(
            b"\x93\xa1t\x05\x81\xa1a\xdb\x7f\xff\xff\xff" + bytes(5000), id="a header that promises gigabytes"
        ),
    ],
)
def test_anything_else_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data, SMALL)


ENTRY = b"\x92\x00\x80"
"""The smallest."""


def modes(entries: int) -> list[bytes]:
    """`entries` of the smallest ones in each mode that has several."""
    all_ = ENTRY * entries
    return [
        b"\x92\xa1t\xdd" + struct.pack(">I", entries) + all_,
        b"\x92\xa1t\xc6" + struct.pack(">I", len(all_)) + all_,
        pack(["t", gzip.compress(all_), {"compressed": "gzip"}]),
    ]


def test_a_message_has_at_most_so_many_entries_in_every_mode() -> None:
    limit = ParserLimits().max_entries
    for whole, more in zip(modes(limit), modes(limit + 1), strict=True):
        (delivery,) = parse(whole)
        assert len(delivery.events) == limit
        with pytest.raises(ProtocolError, match=f"more than {limit} entries in a message: .* raise max_entries"):
            parse(more)


def test_a_message_of_one_event_weighs_what_the_event_takes() -> None:
    deliveries = parse(b"\x93\xa1t\x00\x80" * 1_000)
    assert sum(delivery.size_bytes for delivery in deliveries) == 1_000 * EVENT_BYTES


def outcome(pieces: list[bytes]) -> tuple[list[Delivery], bool]:
    parser = ForwardParser(SMALL)
    deliveries: list[Delivery] = []
    try:
        for piece in pieces:
            deliveries += parser.feed(piece)
    except ProtocolError:
        return deliveries, True
    return deliveries, False


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
records = st.dictionaries(st.text(max_size=8), plain, max_size=6)
times = (
    st.integers(0, 2**32)
    | st.floats(0, 2**32)
    | st.builds(EventTime, st.integers(0, 2**32 - 1), st.integers(0, 999_999_999))
)
entries = st.lists(st.tuples(times, records), max_size=4)
options = st.none() | st.fixed_dictionaries(
    {}, optional={"chunk": st.text("abc+/=", min_size=1), "size": st.integers(0, 9)}
)
tags = st.text("abc.", min_size=1, max_size=9)
messages = st.one_of(
    st.tuples(tags, times, records, options).map(lambda m: pack(list(m))),
    st.tuples(tags, entries, options).map(lambda m: pack([m[0], [list(e) for e in m[1]], m[2]])),
    st.tuples(tags, entries, options).map(lambda m: pack([m[0], packed(*m[1]), m[2]])),
    st.just(b"\xc0"),
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.lists(messages, max_size=3).map(b"".join), st.data())
def test_any_bytes_in_any_pieces_are_events_or_a_protocol_error(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    by_byte, failed_by_byte = outcome([data[index : index + 1] for index in range(len(data))])
    in_pieces, failed = outcome(pieces)
    assert failed == failed_by_byte
    if not failed:
        assert repr(in_pieces) == repr(by_byte)  # repr: NaN is not equal to itself


@settings(max_examples=100, deadline=None)
@given(st.lists(messages.filter(lambda m: len(m) < 4000), min_size=1, max_size=4))
def test_every_well_formed_message_is_understood(sent: list[bytes]) -> None:
    deliveries, failed = outcome(sent)
    assert not failed
    assert len(deliveries) == sum(message != b"\xc0" for message in sent)
    for delivery in deliveries:
        for event in delivery.events:
            # What comes out can be packed again, and is text that any reader takes.
            assert msgpack.unpackb(pack(event.record), strict_map_key=False) is not None


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(
            b"\x93\xa1t\x05\x81\xa1a" + b"\xdd\x00\x00\x0f\xff" * 1000 + b"\xc0" * 4000, id="nested list headers"
        ),
        pytest.param(b"\x92\xa1t\xdd\x00\xff\xff\xff" + b"\x92\x00\x80" * 300_000, id="empty entries"),
        pytest.param(b"\x92\xa1t\xc6" + struct.pack(">I", 3_000_000) + b"\x92\x00\x80" * 1_000_000, id="packed ones"),
        pytest.param(
            pack(["t", 5, {"a": [[{}] * 4000] * 200}]),
            id="empty maps",
        ),
        pytest.param(pack(["t", gzip.compress(bytes(64 << 20)), {"compressed": "gzip"}]), id="a zip bomb"),
    ],
)
def test_hostile_bytes_do_not_make_us_hold_much(hostile: bytes) -> None:
    limits = ParserLimits(max_elements=400_000)
    tracemalloc.start()
    try:
        parser = ForwardParser(limits)
        try:
            parser.feed(hostile)
        except ProtocolError:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20


def test_inflating_stops_at_the_limit() -> None:
    assert inflate(gzip.compress(b"x" * 100), 100) == b"x" * 100
    with pytest.raises(InflatesTooFar, match="more than 99"):
        inflate(gzip.compress(b"x" * 100), 99)
    assert inflate(b"", 10) == b""


def test_many_small_members_inflate_in_proportion_to_their_number() -> None:
    member = gzip.compress(b"x")
    assert inflate(member * 20_000, 1 << 20) == b"x" * 20_000
    with pytest.raises(BrokenCompression, match="members"):
        inflate(gzip.compress(b"") * 300_000, 1 << 20)
