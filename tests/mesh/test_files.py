"""Files are the old or the new, private where they hold secrets."""

import os
from pathlib import Path

import pytest

from mesh.files import NotPrivate, read_private, read_token, sync_file_system, write_atomic


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


def test_a_write_that_fails_names_the_file_that_was_meant(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "file", tmp_path):
        with pytest.raises(OSError) as caught:
            write_atomic(path, b"new")
        assert (caught.value.filename, caught.value.filename2) == (str(path), None)


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


@pytest.mark.parametrize(
    ("mode", "fine"),
    [(0o600, True), (0o400, True), (0o640, True), (0o440, True), (0o660, False), (0o644, False), (0o604, False)],
)
def test_a_token_may_be_read_by_its_group_but_not_by_the_world(tmp_path: Path, mode: int, fine: bool) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"t")
    path.chmod(mode)
    if fine:
        assert read_token(path) == b"t"
    else:
        with pytest.raises(NotPrivate, match=f"mode {mode:04o}"):
            read_token(path)


def projected(directory: Path, mode: int) -> Path:
    """A projected volume as the kubelet's atomic writer lays it out."""
    version = directory / "..2026_11_21_13_00_00.1234567890"
    version.mkdir()
    (version / "token").write_bytes(b"projected")
    (version / "token").chmod(mode)
    (directory / "..data").symlink_to(version.name)
    (directory / "token").symlink_to("..data/token")
    return directory / "token"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_projected_token_is_read_with_the_mode_that_the_kubelet_gave_it(tmp_path: Path, mode: int) -> None:
    assert read_token(projected(tmp_path, mode), kubelet_uid=os.getuid()) == b"projected"


def test_only_the_kubelet_s_links_make_a_projected_volume(tmp_path: Path) -> None:
    path = projected(tmp_path, 0o644)
    with pytest.raises(NotPrivate):
        read_token(path, kubelet_uid=os.getuid() + 1)
    link = tmp_path / "linked"
    link.symlink_to(path.resolve())
    with pytest.raises(NotPrivate):
        read_token(link, kubelet_uid=os.getuid())
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to(tmp_path / "..2026_11_21_13_00_00.1234567890")
    with pytest.raises(NotPrivate):
        read_token(path, kubelet_uid=os.getuid())


def test_a_whole_file_system_is_synced_where_the_machine_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "nothing")
