"""`make setup`: whole, or made whole by the next, also when two terminals ask for it at once."""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 30.0

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("make", "flock")), reason="apt-get install make util-linux"
)

PYTHON = """#!/bin/sh
# Stands for Python: writes down what it was asked for. Its venv has no pip before the file `go` is there.
echo "$*" >> "$HERE/asked"
case "$*" in
"-m venv "*)
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    until [ -e "$HERE/go" ]; do read -r _ < "$HERE/wake"; done
    touch "$3/bin/pip" ;;
"-m ensurepip "*) touch .venv/bin/pip ;;
"-m pip "*) [ -e .venv/bin/pip ] || { echo "No module named pip" >&2; exit 1; } ;;
esac
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with what `make setup` reads, and a Python that installs nothing."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    os.mkfifo(tmp_path / "wake")
    return tmp_path


@pytest.fixture
def setup(clone: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start `make setup` there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            make = subprocess.Popen(
                ["make", "setup", f"PYTHON={clone / 'python'}"],
                cwd=clone,
                env={**environment, "HERE": str(clone)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(make)
            stack.callback(make.kill)
            return make

        yield start


def somebody_waits_for(directory: Path) -> bool:
    inode = f":{directory.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def installs(clone: Path) -> int:
    return sum("--editable" in line for line in (clone / "asked").read_text().splitlines())


def go_on(clone: Path) -> None:
    (clone / "go").touch()
    with (clone / "wake").open("w") as wake:
        wake.write("\n")


def test_a_second_make_waits_for_the_first_and_finds_everything_installed(
    clone: Path, setup: Callable[[], subprocess.Popen[str]]
) -> None:
    first = setup()
    wait_until((clone / ".venv/bin/python").exists, "the first begins to make .venv")
    second = setup()
    wait_until(lambda: second.poll() is not None or somebody_waits_for(clone), "the second waits")
    go_on(clone)
    for name, make in (("first", first), ("second", second)):
        output, _ = make.communicate(timeout=WITHIN_S)
        assert make.returncode == 0, f"{name}: {output}"
    assert installs(clone) == 1


def test_an_environment_whose_making_was_killed_gets_its_pip(
    clone: Path, setup: Callable[[], subprocess.Popen[str]]
) -> None:
    half = clone / ".venv/bin"
    half.mkdir(parents=True)
    shutil.copy(clone / "python", half / "python")
    make = setup()
    output, _ = make.communicate(timeout=WITHIN_S)
    assert make.returncode == 0, output
    assert installs(clone) == 1


def test_what_is_installed_is_not_installed_again_and_nothing_is_said(
    clone: Path, setup: Callable[[], subprocess.Popen[str]]
) -> None:
    (clone / "go").touch()
    setup().communicate(timeout=WITHIN_S)
    again = setup()
    assert again.communicate(timeout=WITHIN_S)[0] == ""
    assert again.returncode == 0
    assert installs(clone) == 1
