"""mitmproxy's environment for tests: made once by `remora inspect install`, kept beside this interpreter's packages."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.inspection import Inspection

DIRECTORY = Path(os.environ.get("REMORA_INSPECT") or Path(sys.prefix) / "lib" / "remora-inspect")


@functools.cache
def _trouble() -> str:
    """Empty when it is there."""
    command = [sys.executable, "-P", "-m", "remora", "inspect", "install"]
    environ = {**os.environ, "REMORA_INSPECT": str(DIRECTORY)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=900, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


def inspection() -> Inspection:
    """Skips the test where mitmproxy can not be had."""
    trouble = _trouble()
    if trouble:
        pytest.skip(f"needs mitmproxy: run `REMORA_INSPECT={DIRECTORY} remora inspect install` ({trouble})")
    return Inspection(DIRECTORY)


def in_mitmproxy(program: str, *arguments: str, stdin: bytes = b"") -> str:
    """Standard output of a Python program that runs inside the environment."""
    command = [str(inspection().python), "-P", "-c", program, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
