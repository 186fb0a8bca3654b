"""A disk that is full is named, with what to do, wherever `remora up` meets it: on a small tmpfs of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

TMPFS = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
ADVICE = "make room there, or choose another --state"


def within(size: str, disk: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python on a disk of `size` at `disk`; skip where that cannot be."""
    disk.mkdir()
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", TMPFS, "sh", size, str(disk), sys.executable, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    if "unshare" in result.stderr or "permission denied" in result.stderr:
        pytest.skip(f"needs user and mount namespaces (sysctl kernel.unprivileged_userns_clone=1): {result.stderr}")
    return result


def test_a_disk_that_is_too_small_is_named_before_anything_starts(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    state = disk / "state"
    result = within("64k", disk, "-m", "remora", "up", "--state", str(state), "--console-port", "0")
    assert (result.returncode, result.stdout) == (1, "")
    said = f"cannot use state directory {state}: No space left on device ("
    assert result.stderr.startswith(said)
    assert result.stderr.endswith(f" KiB are free, 8 MiB are needed): {ADVICE}\n")
    assert result.stderr.count("\n") == 1


LOCKING = """
import pathlib, sys
from remora.failure import Failure
from remora.state import State
from remora.up.lock import Lock
disk = pathlib.Path(sys.argv[1])
state = State(disk)
assert not state.shortage()
with open(disk / "filler", "wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    Lock(state).__enter__()
except Failure as failure:
    print(failure)
print(state.shortage())
"""


def test_a_disk_that_filled_up_is_named_with_the_file_that_could_not_be_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    result = within("1m", disk, "-c", LOCKING, str(disk))
    assert result.stdout.splitlines() == [
        f"cannot use state directory {disk}: {disk}/lock: No space left on device "
        f"(0 KiB are free, 8 MiB are needed): {ADVICE}",
        f"{disk}: No space left on device (0 KiB are free): {ADVICE}",
    ], result.stderr


FILLED = """
import pathlib, subprocess, sys, time
disk = pathlib.Path(sys.argv[1])
up = subprocess.Popen(
    [sys.executable, "-m", "remora", "up", "--state", disk / "state", "--console-port", "0", "--ingress-port", "0"]
)
while up.poll() is None and not (disk / "state" / "ports.json").exists():
    time.sleep(0.01)
with open(disk / "filler", "wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)):
            pass
    except OSError:
        pass
sys.exit(up.wait(50))
"""


def test_what_ends_on_a_disk_that_has_filled_up_is_not_left_without_a_reason(tmp_path: Path) -> None:
    """Its children cannot write their last words."""
    disk = tmp_path / "disk"
    result = within("9m", disk, "-c", FILLED, str(disk))
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "No space left on device" in last, result.stderr
    assert str(disk) in last
    assert last.endswith(ADVICE)
    assert "standard output" not in result.stderr
    assert "Traceback" not in result.stderr
