"""One mesh per state directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remora.failure import Failure
from remora.state import State
from remora.up.lock import Lock


def test_a_second_up_on_the_same_state_is_told_who_has_it(tmp_path: Path) -> None:
    state = State(tmp_path)
    with Lock(state), pytest.raises(Failure, match=rf"another `remora up` \(pid {os.getpid()}\) uses {tmp_path}"):
        Lock(state).__enter__()


def test_the_lock_is_free_after_its_owner(tmp_path: Path) -> None:
    with Lock(State(tmp_path)):
        pass
    with Lock(State(tmp_path)) as lock:
        assert lock.fd >= 0


def test_a_killed_owners_children_are_waited_for(tmp_path: Path) -> None:
    """The child inherits the descriptor; the lock's file names a process that is gone."""
    state = State(tmp_path)
    with Lock(state) as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fd])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    state.lock.write_text(f"{gone.pid}\n")
    assert child.stdin is not None
    threaded = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
from pathlib import Path
from remora.state import State
from remora.up.lock import Lock
print("waiting", flush=True)
with Lock(State(Path({str(tmp_path)!r}))):
    print("locked", flush=True)
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert threaded.stdout is not None
    assert threaded.stdout.readline() == "waiting\n"
    child.communicate(b"\n")
    assert threaded.communicate(timeout=20)[0] == "locked\n"


def test_a_directory_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Failure, match="cannot use state directory"):
        State(blocked / "state").create()
