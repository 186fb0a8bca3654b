import math
from typing import Any

import msgpack
import pytest

from collectors.delivery import frames
from collectors.delivery.errors import Unencodable
from collectors.delivery.frames import Counts, Encoder, FrameHeader, counts_of, decode, halves
from collectors.records import Batch, Sample
from tests.collectors.build import NOW, log
from tests.collectors.delivery.batches import FULL_SAMPLE, FULL_SPAN, everything, numbered

LARGE = {"max_records": 1_000, "max_bytes": 1 << 20}


def back(batch: Batch) -> Batch:
    (frame,) = Encoder().frames(batch, NOW, **LARGE)
    decoded = decode(frame.header, frame.payload)
    assert decoded is not None
    return decoded


def test_every_field_of_every_kind_of_record_comes_back_as_it_was() -> None:
    whole, again = everything(), back(everything())
    assert (again.logs, again.spans, again.samples) == (whole.logs, whole.spans, whole.samples)


def test_the_records_of_the_test_above_have_no_field_left_at_its_default() -> None:
    """A new field of a record must get a value there, so that it is seen to come back."""
    for record in (FULL_SPAN, FULL_SAMPLE):
        for name, default in record._field_defaults.items():
            assert getattr(record, name) != default, name


def test_not_a_number_and_infinities_of_samples_come_back() -> None:
    values = (math.nan, math.inf, -math.inf)
    found = back(Batch(samples=[Sample("m", (), NOW, value) for value in values])).samples
    assert [str(sample.value) for sample in found] == ["nan", "inf", "-inf"]


def test_what_msgpack_does_not_have_becomes_text() -> None:
    class Foreign:
        def __str__(self) -> str:
            return "foreign"

    (record,) = back(Batch(logs=[log("a", "m", big=2**70, other=Foreign())])).logs
    assert (record.body["big"], record.body["other"]) == (str(2**70), "foreign")


def test_a_record_nested_too_deeply_is_told_apart() -> None:
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"a": deep}
    with pytest.raises(Unencodable):
        Encoder().frames(Batch(logs=[log("a", "m", deep=deep)]), NOW, **LARGE)


@pytest.mark.parametrize(("max_records", "max_bytes"), [(7, 1 << 20), (1_000, 2_000), (1, 1)])
def test_a_large_batch_becomes_several_frames_in_its_order(max_records: int, max_bytes: int) -> None:
    batch = numbered(0, 50)
    batch.spans, batch.samples = everything().spans, everything().samples
    made = Encoder().frames(batch, NOW, max_records=max_records, max_bytes=max_bytes)
    assert len(made) > 1
    for frame in made:
        assert len(frame.batch) <= max_records
        assert frame.header.length <= max_bytes or len(frame.batch) == 1
        assert frame.header.counts == counts_of(frame.batch)
    assert [record for frame in made for record in frame.batch.records()] == batch.records()


def test_halves_are_neither_empty_nor_overlapping() -> None:
    for size in range(2, 9):
        whole = everything()
        whole.logs = numbered(0, size - 1).logs
        first, second = halves(whole)
        assert len(first)
        assert len(second)
        assert [*first.records(), *second.records()] == whole.records()


def test_a_header_is_known_by_its_own_checksum_and_the_segment_s_salt() -> None:
    header = FrameHeader(10, 20, Counts(1, 2, 3), NOW)
    data = frames.render_header(header, salt=7)
    assert frames.read_header(data, 7) == header
    assert frames.read_header(data, 8) is None, "a header of another segment's, or of somebody who guesses"
    assert frames.read_header(data[:-1], 7) is None
    for place in range(len(data)):
        flipped = data[:place] + bytes((data[place] ^ 4,)) + data[place + 1 :]
        assert frames.read_header(flipped, 7) is None


def test_a_frame_of_an_older_program_with_fewer_fields_is_read() -> None:
    (frame,) = Encoder().frames(Batch(spans=[FULL_SPAN]), NOW, **LARGE)
    logs, spans, samples = msgpack.unpackb(frame.payload)
    payload = msgpack.packb([logs, [spans[0][:11]], samples])
    header = frame.header._replace(length=len(payload), crc=frames.crc32(payload))
    decoded = decode(header, payload)
    assert decoded is not None
    assert decoded.spans[0].attributes == FULL_SPAN.attributes
    assert decoded.spans[0].scope == ("", "")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(msgpack.packb(3), id="another value"),
        pytest.param(msgpack.packb([[["id"]], [], []]), id="a record with too few fields"),
        pytest.param(msgpack.packb([[], [], [], []]), id="a list too many"),
        pytest.param(msgpack.packb([[], [], []]), id="other counts than the header's"),
    ],
)
def test_a_payload_of_something_else_with_a_right_checksum_is_damage(payload: bytes) -> None:
    header = FrameHeader(len(payload), frames.crc32(payload), Counts(1), NOW)
    assert decode(header, payload) is None
