"""Lines are there whole or not at all, whatever was killed or fails; files are rotated, and their names are durable."""

import os
import resource
import signal
from pathlib import Path

import pytest

from mesh.line_file import LineFile


def read(path: Path) -> list[str]:
    """From the oldest file on."""
    numbered = sorted(path.parent.glob(f"{path.name}.*"), key=lambda each: -int(each.suffix[1:]))
    return [line for each in (*numbered, path) if each.exists() for line in each.read_text().splitlines()]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_newest_files_are_kept_and_what_leaves_is_told(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "lines"
    file = LineFile(path, max_bytes=10, keep=keep)
    removed = [file.append(b"%04d\n" % number) for number in range(12)]
    first = 12 - 2 * (keep + 1)
    assert read(path) == [f"{number:04}" for number in range(first, 12)]
    oldest = path.with_name(f"lines.{keep}") if keep else path
    assert [each for each in removed if each is not None] == [oldest] * (first // 2)
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"whole\n" + b"x" * 100_000)
    LineFile(path, max_bytes=1 << 20, keep=1).append(b"next\n")
    assert path.read_bytes() == b"whole\nnext\n"


def test_names_of_new_files_are_durable(tmp_path: Path) -> None:
    synced: list[Path] = []
    file = LineFile(tmp_path / "lines", max_bytes=10, keep=1, sync_names=synced.append)
    file.append(b"0000\n")
    assert synced == [tmp_path]
    file.append(b"0001\n")
    assert synced == [tmp_path]
    file.append(b"0002\n")
    assert synced == [tmp_path] * 2, "rotated"


def test_of_lines_that_the_disk_has_no_room_for_none_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = LineFile(path, max_bytes=1 << 20, keep=1)
    file.append(b"before\n")
    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, former[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(b"more than there is room for\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"before\n"
    file.append(b"after\n")
    assert read(path) == ["before", "after"]


def test_a_rotation_that_fails_closes_no_descriptor_twice(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = LineFile(path, max_bytes=5, keep=1)
    file.append(b"0000\n")
    in_the_way = tmp_path / "lines.1"
    in_the_way.mkdir()
    before = os.listdir("/proc/self/fd")
    # A second close would raise "Bad file descriptor" or, worse, close what another thread has opened since.
    with pytest.raises(IsADirectoryError):
        file.append(b"0001\n")
    assert os.listdir("/proc/self/fd") == before
    in_the_way.rmdir()
    file.append(b"0001\n")
    assert read(path) == ["0000", "0001"]
