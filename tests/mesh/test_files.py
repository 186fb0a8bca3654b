"""Files are the old or the new, private where they hold secrets."""

import os
from pathlib import Path

import pytest

from mesh.files import NotPrivate, read_private, write_atomic


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomic(path, b"old", mode=0o644)
    write_atomic(path, b"new", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert os.listdir(tmp_path) == ["key"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()  # a file can not replace a directory
    with pytest.raises(OSError):
        write_atomic(path, b"new")
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_secret_is_read_only_from_its_owners_file(tmp_path: Path, mode: int, private: bool) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"s")
    path.chmod(mode)
    if private:
        assert read_private(path) == b"s"
    else:
        with pytest.raises(NotPrivate, match=f"mode {mode:04o}"):
            read_private(path)
