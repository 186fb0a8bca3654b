import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.delivery import frames
from collectors.delivery.disk import Disk
from collectors.delivery.errors import BufferFault
from collectors.delivery.frames import Counts, Encoder, Frame
from collectors.delivery.log import MAX_QUARANTINED, Log
from collectors.delivery.position import Position
from collectors.delivery.writer import LogLimits
from collectors.records import Batch
from tests.collectors.build import NOW
from tests.collectors.delivery.batches import everything, numbered
from tests.collectors.delivery.sinks import ids

SMALL = LogLimits(max_bytes=1 << 20, segment_bytes=2_000)


def frame(batch: Batch, now: float = NOW) -> Frame:
    (made,) = Encoder().frames(batch, now, max_records=10_000, max_bytes=1 << 30)
    return made


def made(first: int, count: int, each: int = 5) -> list[Frame]:
    """`count` frames of `each` records, their ids numbered on from `first`."""
    return [frame(numbered(first + index * each, each)) for index in range(count)]


def write(log: Log, group: Sequence[Frame]) -> list[Position]:
    ends = log.append(group, sync=True)
    assert len(ends) == len(group)
    return ends


def rest(log: Log) -> list[str]:
    """The ids of everything that is still to be read."""
    found: list[str] = []
    while (read := log.read()) is not None:
        found += ids(read[0].batch)
    return found


def names(first: int, end: int) -> list[str]:
    return list(map(str, range(first, end)))


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def test_what_is_written_is_read_in_its_order_across_segments(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    write(log, made(0, 20))
    assert log.stats.segments == 3
    assert rest(log) == names(0, 100)
    assert log.exhausted
    write(log, made(100, 1))
    assert not log.exhausted
    assert rest(log) == names(100, 105)
    log.close()


def test_records_of_every_kind_are_read_back(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    write(log, [frame(everything())])
    read = log.read()
    assert read is not None
    assert read[0].batch.records() == everything().records()
    log.close()


def test_what_was_not_delivered_is_read_again_after_a_restart(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 20))
    rest(log)
    log.delivered(ends[12])
    log.close()
    log = Log.open(tmp_path, SMALL)
    assert rest(log) == names(65, 100)
    log.close()


def test_delivered_segments_are_removed_and_the_rest_is_counted(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 20))
    before = log.stats.undelivered_bytes
    assert before == sum(each.size for each in made(0, 20))
    log.delivered(ends[12])
    assert log.stats.undelivered_bytes == sum(each.size for each in made(65, 7))
    assert len(segments(tmp_path)) == log.stats.segments
    assert log.stats.bytes == sum(path.stat().st_size for path in segments(tmp_path))
    log.delivered(ends[-1])
    assert log.stats.undelivered_bytes == 0
    assert log.stats.segments == 1, "the one that is being written"
    log.close()
    assert segments(tmp_path) == []


def test_files_are_nobody_else_s(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "buffer", SMALL)
    write(log, made(0, 1))
    for path in (tmp_path / "buffer").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name
    assert (tmp_path / "buffer").stat().st_mode & 0o077 == 0
    log.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    with pytest.raises(BufferFault, match="another process uses the buffer"):
        Log.open(tmp_path, SMALL)
    log.close()
    Log.open(tmp_path, SMALL).close()


def test_a_newer_program_s_buffer_is_not_touched(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    write(log, made(0, 1))
    log.close()
    (segment,) = segments(tmp_path)
    data = segment.read_bytes()
    header = frames.read_segment_header(data)
    assert header is not None
    assert header.version == 1
    segment.write_bytes(frames.render_segment_header(header.salt, 2) + data[frames.SEGMENT_HEADER_BYTES :])
    before = [path.read_bytes() for path in segments(tmp_path)]
    with pytest.raises(BufferFault, match="format 2, this program reads 1"):
        Log.open(tmp_path, SMALL)
    assert [path.read_bytes() for path in segments(tmp_path)] == before


def killed(log: Log, directory: Path, copy: Path) -> Path:
    """What is on disk at this moment, as after kill -9."""
    shutil.copytree(directory, copy)
    log.close()
    return copy


def test_half_a_frame_at_the_end_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Log.open(tmp_path / "a", SMALL)
    write(log, made(0, 3))
    directory = killed(log, tmp_path / "a", tmp_path / "b")
    last = segments(directory)[-1]
    os.truncate(last, last.stat().st_size - 3)
    log = Log.open(directory, SMALL)
    assert rest(log) == names(0, 10)
    assert log.stats.torn_bytes == made(10, 1)[0].size - 3
    assert log.stats.quarantined_segments == 0
    assert "being written when the process ended" in caplog.text
    write(log, made(10, 1))
    assert rest(log) == names(10, 15)
    log.close()


def test_a_damaged_frame_in_the_middle_is_passed_over_and_its_file_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log.open(tmp_path / "a", SMALL)
    write(log, made(0, 20))
    directory = killed(log, tmp_path / "a", tmp_path / "b")
    victim = segments(directory)[1]
    data = bytearray(victim.read_bytes())
    data[300] ^= 1
    victim.write_bytes(data)
    log = Log.open(directory, SMALL)
    found, end = [], Position(0, 0)
    while (read := log.read()) is not None:
        found += ids(read[0].batch)
        end = read[1]
    missing = [name for name in names(0, 100) if name not in found]
    assert len(missing) == 5, "one frame"
    assert found == [name for name in names(0, 100) if name in found]
    assert log.stats.quarantined == Counts(5)
    assert log.stats.quarantined_segments == 1
    log.delivered(end)
    assert [path.read_bytes() for path in segments(directory / "quarantine")] == [bytes(data)]
    assert "is damaged: bytes" in caplog.text
    log.close()


def test_a_segment_whose_beginning_is_damaged_is_put_aside_whole(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "a", SMALL)
    write(log, made(0, 20))
    directory = killed(log, tmp_path / "a", tmp_path / "b")
    first = segments(directory)[0]
    data = first.read_bytes()
    first.write_bytes(b"\0" * 8 + data[8:])
    log = Log.open(directory, SMALL)
    found = rest(log)
    assert found == names(100 - len(found), 100)
    assert log.stats.quarantined_segments == 1
    log.close()


def test_quarantine_is_bounded(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 80))
    assert log.stats.segments > MAX_QUARANTINED + 2
    for path in segments(tmp_path):
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    rest(log)
    log.delivered(ends[-1])
    assert len(segments(tmp_path / "quarantine")) == MAX_QUARANTINED
    log.close()


def test_a_damaged_position_means_that_all_there_is_is_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 4))
    rest(log)
    log.delivered(ends[0])
    log.close()
    (tmp_path / "position").write_bytes(b"x" * 128)
    log = Log.open(tmp_path, SMALL)
    assert rest(log) == names(0, 20)
    assert "the position is damaged" in caplog.text
    log.close()


def test_numbers_of_segments_never_begin_anew(tmp_path: Path) -> None:
    """Else a position that survived would say of new records that they were delivered."""
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 4))
    log.delivered(ends[-1])
    log.close()
    assert segments(tmp_path) == []
    log = Log.open(tmp_path, SMALL)
    write(log, made(20, 1))
    log.close()
    log = Log.open(tmp_path, SMALL)
    assert rest(log) == names(20, 25)
    log.close()


def test_it_is_full_and_has_room_again_when_a_segment_was_delivered(tmp_path: Path) -> None:
    limits = LogLimits(max_bytes=8_000, segment_bytes=2_000)
    log = Log.open(tmp_path, limits)
    group = made(0, 40)
    ends = log.append(group, sync=True)
    assert 0 < len(ends) < len(group)
    assert log.stats.bytes <= limits.max_bytes
    assert not log.has_room(group[len(ends)].size)
    assert log.append(group[len(ends) :], sync=True) == []
    log.delivered(next(end for end in ends if end.sequence > ends[0].sequence))
    assert log.has_room(group[0].size)
    log.close()


def test_a_small_buffer_that_is_all_delivered_takes_the_largest_frame_that_fits(tmp_path: Path) -> None:
    log = Log.open(tmp_path, LogLimits(max_bytes=8_000, segment_bytes=8_000))
    ends = write(log, made(0, 1))
    large = frame(numbered(5, 1, pad=7_700))
    assert log.can_ever_hold(large.size)
    assert not log.has_room(large.size)
    log.delivered(ends[-1])
    log.make_room()
    assert log.has_room(large.size)
    write(log, [large])
    assert not log.can_ever_hold(8_000)
    log.close()


def test_the_oldest_segment_can_be_given_up(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    ends = write(log, made(0, 20))
    read = log.read()
    assert read is not None
    dropped = log.drop_oldest()
    assert dropped is not None
    lost, before = dropped
    in_first = sum(end.sequence == ends[0].sequence for end in ends) * 5
    assert lost == Counts(in_first - 5), "five of them were handed to the sender"
    assert before.sequence == ends[0].sequence + 1
    assert rest(log) == names(in_first, 100)
    log.close()


def test_the_segment_being_written_can_be_given_up_too(tmp_path: Path) -> None:
    log = Log.open(tmp_path, SMALL)
    write(log, made(0, 2))
    assert log.drop_oldest() is not None
    assert log.drop_oldest() is None
    assert log.stats.bytes == 0
    write(log, made(10, 1))
    assert rest(log) == names(10, 15)
    log.close()


def test_what_does_not_fit_is_spilled_to_the_second_directory_and_read_in_order(tmp_path: Path) -> None:
    limits = LogLimits(max_bytes=8_000, segment_bytes=2_000, spill=tmp_path / "slow", max_spill_bytes=8_000)
    log = Log.open(tmp_path / "fast", limits)
    group = made(0, 60)
    ends = log.append(group, sync=True)
    assert len(segments(tmp_path / "slow")) > 1
    assert len(ends) < len(group), "the second directory is bounded as well"
    read: list[str] = []
    first = log.read()
    assert first is not None
    log.close()
    log = Log.open(tmp_path / "fast", limits)
    read = rest(log)
    assert read == names(0, 5 * len(ends))
    log.delivered(ends[-1])
    write(log, made(300, 1))
    assert len(segments(tmp_path / "fast")) == 1
    assert segments(tmp_path / "slow") == []
    log.close()


def test_after_an_fsync_that_failed_nothing_more_goes_into_the_same_segment(tmp_path: Path) -> None:
    """What the kernel could not write it may call clean, and the next fsync would succeed."""

    def fail_once(fd: int) -> None:
        if fails:
            fails.clear()
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)

    fails = {"the next one"}
    log = Log.open(tmp_path, LogLimits(), Disk(fdatasync=fail_once))
    log.append(made(0, 1), sync=False)
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    log.append(made(5, 1), sync=False)
    log.sync()
    assert [path.stat().st_size > 100 for path in segments(tmp_path)] == [True, True]
    assert rest(log) == names(0, 10)
    log.close()


def test_a_segment_that_grows_old_is_ended(tmp_path: Path) -> None:
    log = Log.open(tmp_path, LogLimits(roll_s=10))
    write(log, [frame(numbered(0, 1), NOW)])
    write(log, [frame(numbered(1, 1), NOW + 9)])
    assert log.stats.segments == 1
    write(log, [frame(numbered(2, 1), NOW + 10)])
    assert log.stats.segments == 2
    assert not log.oldest_is_older_than(NOW + 9)
    assert log.oldest_is_older_than(NOW + 9.5)
    log.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A buffer of three segments, as kill -9 leaves it."""
    directory = tmp_path_factory.mktemp("written")
    log = Log.open(directory / "a", SMALL)
    write(log, made(0, 6))
    return killed(log, directory / "a", directory / "b")


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_give_whole_frames_and_a_quarantine_and_never_a_wrong_record(
    written: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any bits flipped in, or any end cut off, any segment."""
    directory = tmp_path_factory.mktemp("damaged") / "b"
    shutil.copytree(written, directory)
    paths = segments(directory)
    victim = data.draw(st.sampled_from(paths))
    content = bytearray(victim.read_bytes())
    if cut := data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4, unique=True)):
            content[place] ^= data.draw(st.integers(1, 255))
    victim.write_bytes(content)

    log = Log.open(directory, SMALL)
    found: list[str] = []
    while (read := log.read()) is not None:
        counts, batch = read[0].header.counts, read[0].batch
        assert len(batch.logs) == counts.logs == 5
        assert all(record.body["message"] == f"message {record.id}" for record in batch.logs)
        found += ids(batch)
    last = victim is paths[-1]
    log.close()
    whole = names(0, 30)
    assert found == [name for name in whole if name in set(found)], "order, and nothing twice"
    if cut and last:
        assert found == whole[: len(found)], "a prefix"
    lost = len(whole) - len(found)
    assert not lost or log.stats.quarantined_segments or log.stats.torn_bytes or cut
    assert not lost or not log.stats.quarantined.total or log.stats.quarantined.total <= lost
    shutil.rmtree(directory.parent)
