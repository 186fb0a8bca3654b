"""A state directory is its user's alone, or is not used."""

import os
from pathlib import Path

import pytest

from remora.failure import Failure
from remora.state import State
from remora.up.lock import Lock


def test_it_is_made_for_its_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    State(directory).create()
    assert {path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())} == {0o700}
    State(directory).create()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702], ids=oct)
def test_one_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(Failure, match=rf"it has mode {mode:04o}, others may write there: chmod 0700 {tmp_path}$"):
        State(tmp_path).create()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750], ids=oct)
def test_one_that_others_may_look_at_is_used(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    State(tmp_path).create()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_another_user_s_is_refused_also_by_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, -1)
    (tmp_path / "link").symlink_to(theirs)
    for directory in (theirs, tmp_path / "link"):
        with pytest.raises(Failure, match="it belongs to user 65534, who could read the mesh's keys"):
            State(directory).create()
    assert os.listdir(theirs) == []


def test_a_lock_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "lock").symlink_to(target)
    with pytest.raises(Failure, match=f"{tmp_path}/lock: Too many levels of symbolic links"):
        Lock(State(tmp_path)).__enter__()
    assert target.read_text() == "precious"
