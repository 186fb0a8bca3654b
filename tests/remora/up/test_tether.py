"""A command that must not outlive its parent does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from remora.up import tether


def _argv(*command: str) -> list[str]:
    return [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]


def test_it_becomes_the_command() -> None:
    result = subprocess.run(_argv("sh", "-c", "echo $0; exit 7", "hello"), capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (7, b"hello\n")


@pytest.mark.parametrize(
    ("command", "status"), [("/nonexistent/program", 127), ("/etc/hostname", 126)], ids=["not found", "not executable"]
)
def test_what_can_not_be_executed_is_one_line_and_a_shells_status(command: str, status: int) -> None:
    result = subprocess.run(_argv(command), capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert result.stderr.startswith(f"remora run: cannot execute {command}: ")
    assert result.stderr.count("\n") == 1


async def test_it_ends_when_its_parent_is_killed(tmp_path: Path, eventually: Callable[..., Awaitable[None]]) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-I', '-S', {tether.__file__!r}, str(os.getpid()), 'sleep', '60'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid))\n"
        "print('started', flush=True)\n"
        "p.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    pid = int(pid_file.read_text())
    await eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the command runs", within=20)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    await eventually(gone, "the command's end", within=20)
