"""A running `remora up`, and what tests do with it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from remora.client import Control
from remora.state import State

T = TypeVar("T")

REMORA = (sys.executable, "-P", "-m", "remora")
READY_S = 60.0
"""For a mesh to be ready on a machine that does other things too; the test of the promised time is another."""


def until(condition: Callable[[], T], what: str, *, within: float = 15.0) -> T:
    """Poll until `condition()` is true; returns what it returned. The assertion names what did not come true."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


@dataclass
class RunningMesh:
    """The process, and the object that it printed."""

    process: "subprocess.Popen[bytes]"
    state: Path
    info: dict[str, Any]
    ready_s: float
    """Seconds from its start to the line that says ready."""

    @classmethod
    @contextlib.contextmanager
    def up(cls, state: Path, *flags: str) -> "Iterator[RunningMesh]":
        """Start it, wait until it is ready, and end it at the end, whatever happened; nothing of it is left."""
        if not any(flag.startswith("--load") or flag == "--no-load" for flag in flags):
            flags = (*flags, "--no-load")
        argv = [*REMORA, "up", "--state", str(state), "--json", "--console-port", "0", "--ingress-port", "0", *flags]
        began = time.monotonic()
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            line = _first_line(process, began + READY_S)
            assert line, f"`up` ended with {process.wait(10)}: {_rest(process)}{_logs(state)}"
            yield cls(process, state, json.loads(line), time.monotonic() - began)
        finally:
            children = _descendants(process.pid)
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for each in (process.stdout, process.stderr):
                assert each is not None
                each.close()
            _, alive = psutil.wait_procs(children, timeout=8)
            for child in alive:
                child.kill()
            assert not alive, f"left behind by `up`: {alive}"

    # The command

    def remora(self, command: str, *argv: str, status: int | None = 0, stdin: str | None = None) -> str:
        """Standard output of a subcommand on this mesh; fails unless its exit status is `status` (None: any)."""
        result = self.attempt(command, *argv, stdin=stdin)
        if status is not None:
            assert result.returncode == status, f"remora {command}: status {result.returncode}: {result.stderr}"
        return result.stdout

    def attempt(self, command: str, *argv: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a subcommand on this mesh."""
        return subprocess.run(
            [*REMORA, command, "--state", str(self.state), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def apply(self, text: str) -> str:
        """Apply rules; returns the command's output."""
        return self.remora("apply", "-f", "-", stdin=text)

    @contextlib.contextmanager
    def applied(self, text: str) -> Iterator[None]:
        """Rules that hold, on every sidecar, within the block."""
        self.apply(text)
        self.wait_synced()
        try:
            yield
        finally:
            self.remora("delete", "-f", "-", stdin=text)
            self.wait_synced()

    def status(self) -> dict[str, Any]:
        """The object of `remora status -o json`."""
        found: dict[str, Any] = json.loads(self.remora("status", "-o", "json"))
        return found

    def wait_synced(self, within: float = 10.0) -> None:
        """Every sidecar runs the present rules."""
        result = self.attempt("status", "--wait", str(within))
        assert result.returncode == 0, f"not synced within {within} s:\n{result.stdout}{result.stderr}"

    def control(self) -> Control:
        """The REST interface that the command uses; close it."""
        return Control(State(self.state))

    # The processes

    @property
    def pids(self) -> dict[str, int]:
        """Of `up` and its children, by name."""
        found: dict[str, int] = json.loads((self.state / "mesh.json").read_text())["pids"]
        return found

    def workers(self, workload: str) -> list[int]:
        """The worker processes of a workload's sidecar."""
        return [child.pid for child in psutil.Process(self.pids[f"{workload}.sidecar"]).children()]

    def kill(self, pid: int) -> None:
        """As the kernel does when memory runs out."""
        os.kill(pid, signal.SIGKILL)

    def everything(self) -> list[psutil.Process]:
        """`up` and all that descends from it."""
        return [psutil.Process(self.process.pid), *_descendants(self.process.pid)]

    # Traffic

    @property
    def ingress(self) -> str:
        """URL of the way in."""
        url: str = self.info["ingress"]
        return url

    def outbound(self, workload: str) -> str:
        """URL of the HTTP proxy that a workload's application has."""
        return f"http://{self.info['workloads'][workload]['outbound']}"

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET through the ingress gateway."""
        with httpx.Client(trust_env=False, timeout=20) as client:
            return client.get(self.ingress + path, **options)

    def get_as(self, workload: str, url: str, **options: Any) -> httpx.Response:
        """GET as the application of `workload` does, through its sidecar."""
        with httpx.Client(trust_env=False, proxy=self.outbound(workload), timeout=20) as client:
            return client.get(url, **options)


def _first_line(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    assert process.stdout is not None
    import select

    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.2)[0]:
            return process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    raise AssertionError(f"`up` was not ready within {READY_S} s: {_rest(process)}")


def _rest(process: "subprocess.Popen[bytes]") -> str:
    assert process.stderr is not None
    process.wait(10)
    return process.stderr.read().decode()


def _logs(state: Path) -> str:
    """The end of every child's log, for a failure's message."""
    logs = state / "logs"
    if not logs.is_dir():
        return ""
    return "".join(f"\n--- {path.name}\n{path.read_text()[-2000:]}" for path in sorted(logs.glob("*.log")))


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
