"""A buffer and the second directory into which it spilled are not opened apart."""

import os
import shutil
from pathlib import Path

import pytest

from collectors.delivery.errors import BufferFault
from collectors.delivery.log import Log
from collectors.delivery.spill import MARK
from collectors.delivery.writer import LogLimits
from tests.collectors.delivery.test_log import made, names, rest, segments, write

ALONE = LogLimits(max_bytes=8_000, segment_bytes=2_000)


def limits(spill: Path) -> LogLimits:
    return LogLimits(max_bytes=8_000, segment_bytes=2_000, spill=spill, max_spill_bytes=8_000)


def spilled(tmp_path: Path) -> list[str]:
    """Records in both directories, nothing delivered; returns their ids."""
    log = Log.open(tmp_path / "fast", limits(tmp_path / "slow"))
    ends = log.append(made(0, 60), sync=True)
    log.close()
    assert segments(tmp_path / "slow")
    return names(0, 5 * len(ends))


def everything(tmp_path: Path) -> list[str]:
    log = Log.open(tmp_path / "fast", limits(tmp_path / "slow"))
    try:
        return rest(log)
    finally:
        log.close()


def test_without_the_setting_it_is_not_opened_and_nothing_is_lost(tmp_path: Path) -> None:
    expected = spilled(tmp_path)
    with pytest.raises(BufferFault, match=r"may have records in .*/slow, and spill is not set: write"):
        Log.open(tmp_path / "fast", ALONE)
    assert everything(tmp_path) == expected


def test_with_the_disk_not_mounted_it_is_not_opened_and_nothing_is_lost(tmp_path: Path) -> None:
    expected = spilled(tmp_path)
    os.rename(tmp_path / "slow", tmp_path / "unmounted")
    with pytest.raises(BufferFault, match="is not that directory, or not mounted"):
        everything(tmp_path)
    assert not (tmp_path / "slow").exists(), "nothing is made where the disk will be"
    (tmp_path / "slow").mkdir()
    with pytest.raises(BufferFault, match="is not that directory, or not mounted"):
        everything(tmp_path)
    (tmp_path / "slow").rmdir()
    os.rename(tmp_path / "unmounted", tmp_path / "slow")
    assert everything(tmp_path) == expected


def test_a_second_directory_that_was_moved_is_known_again(tmp_path: Path) -> None:
    expected = spilled(tmp_path)
    os.rename(tmp_path / "slow", tmp_path / "elsewhere")
    log = Log.open(tmp_path / "fast", limits(tmp_path / "elsewhere"))
    assert rest(log) == expected
    log.close()


def test_an_empty_second_directory_can_be_left_out_and_taken_again(tmp_path: Path) -> None:
    Log.open(tmp_path / "fast", limits(tmp_path / "slow")).close()
    log = Log.open(tmp_path / "fast", ALONE)
    write(log, made(0, 1))
    log.close()
    assert everything(tmp_path) == names(0, 5)


def test_what_an_older_program_spilled_is_read(tmp_path: Path) -> None:
    """It wrote no marks."""
    expected = spilled(tmp_path)
    (tmp_path / "fast" / MARK).unlink()
    (tmp_path / "slow" / "buffer.json").unlink()
    assert everything(tmp_path) == expected


def test_two_buffers_never_have_the_same_second_directory(tmp_path: Path) -> None:
    Log.open(tmp_path / "fast", limits(tmp_path / "slow")).close()
    with pytest.raises(BufferFault, match=r"is the spill directory of the buffer .*/fast: write another"):
        Log.open(tmp_path / "other", limits(tmp_path / "slow"))


def test_what_was_given_up_is_not_taken_for_new(tmp_path: Path) -> None:
    spilled(tmp_path)
    (tmp_path / "fast" / MARK).unlink()
    Log.open(tmp_path / "fast", ALONE).close()
    with pytest.raises(BufferFault, match="has records that were spilled by the buffer"):
        everything(tmp_path)
    shutil.rmtree(tmp_path / "slow")
    assert everything(tmp_path)


def test_a_damaged_mark_is_a_fault_and_no_guess(tmp_path: Path) -> None:
    spilled(tmp_path)
    (tmp_path / "fast" / MARK).write_bytes(b"{")
    with pytest.raises(BufferFault, match="is damaged"):
        everything(tmp_path)
