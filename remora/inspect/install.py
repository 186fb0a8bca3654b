"""Makes the environment that mitmproxy lives in: a virtual environment of this interpreter, and pip."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.files import write_atomic
from mesh.inspection import Inspection
from remora.failure import Failure

REQUIREMENT = "mitmproxy>=11.0.2,<12"
"""11.0.2 is the newest that Python 3.11 can have; the flow file's format and the addons' interface are 11's."""

LIMIT_S = 900.0
"""For all of it; a slow network takes a minute or two."""

Say = Callable[[str], None]
"""Takes one line about what is being done."""


def install(inspection: Inspection, say: Say, *, requirement: str = REQUIREMENT) -> bool:
    """False if it was installed already. Raises Failure with what went wrong; then it can be tried again."""
    if _is_current(inspection, requirement):
        return False
    try:
        inspection.directory.parent.mkdir(parents=True, exist_ok=True)
        with _alone(inspection):
            if _is_current(inspection, requirement):
                return False
            _make(inspection, say, requirement)
    except OSError as error:
        raise Failure(f"cannot make {inspection.directory}: {error}") from error
    return True


def _is_current(inspection: Inspection, requirement: str) -> bool:
    installed = inspection.installed()
    return installed is not None and installed.get("requirement") == requirement


@contextmanager
def _alone(inspection: Inspection) -> Iterator[None]:
    """Two at once would install into each other's half; the second waits and finds it done."""
    path = inspection.directory.with_name(inspection.directory.name + ".lock")
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(inspection: Inspection, say: Say, requirement: str) -> None:
    directory = inspection.directory
    if directory.exists():
        if any(directory.iterdir()) and not (directory / "pyvenv.cfg").exists():
            raise Failure(f"{directory} has something else in it: empty it, or set REMORA_INSPECT to another directory")
        shutil.rmtree(directory)
    say(f"making an environment of Python {sys.version.split()[0]} in {directory}")
    _run([sys.executable, "-m", "venv", str(directory)], say)
    say(f"installing {requirement}")
    pip = [str(inspection.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "install", "--progress-bar", "off", requirement], say)
    version = _run([str(inspection.python), "-c", _VERSION], say).strip()
    inspection.confdir.mkdir(mode=0o700, exist_ok=True)
    marker = {"requirement": requirement, "mitmproxy": version, "python": sys.version.split()[0]}
    write_atomic(inspection.marker, json.dumps(marker).encode(), mode=0o644)


_VERSION = "import mitmproxy.http, mitmproxy.version; print(mitmproxy.version.VERSION)"
"""Imports what is needed, so that an environment that can not run is not called installed."""


def _run(command: list[str], say: Say) -> str:
    """Standard output; each line of it is said. Raises Failure with the last lines of a command that failed."""
    # Neither this process's packages nor its own virtual environment may shine through.
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603  no shell; the interpreter is ours
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                del lines[:-200]
                say(f"  {line.strip()}")
            status = process.wait(LIMIT_S)
        except BaseException:
            process.kill()
            raise
    if status:
        told = [line.rstrip() for line in lines if line.strip()][-5:]
        raise Failure(f"`{' '.join(command[1:4])}` failed with status {status}:", *(f"  {line}" for line in told))
    return "".join(lines)
