"""Processes on a core of their own: start, wait, measure from /proc, stop."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remora.up.sockets import free_ports

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """A part of the bench does not run. The text says which and shows its last output."""


class Process:
    """A child and what it starts, pinned to a core; its output goes to a file."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log = log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment) if environment is not None else None,
                pass_fds=tuple(pass_fds),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises Failed if it has ended."""
        status = self._process.poll()
        if status is not None:
            last = self.log.read_text(errors="replace")[-2000:]
            raise Failed(f"{Path(self.log).stem} ended with status {status}:\n{last}")

    def wait_for_port(self, port: int) -> None:
        """Until `port` of the loopback address accepts. Raises Failed."""

        def accepts() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        self.wait_until(accepts, f"listens on {port}")

    def wait_until(self, condition: Callable[[], bool], what: str, *, within_s: float = 20.0) -> None:
        """Poll. Raises Failed when the process ends or time is up."""
        end = time.monotonic() + within_s
        while not condition():
            self.check()
            if time.monotonic() > end:
                last = self.log.read_text(errors="replace")[-2000:]
                raise Failed(f"{self.log.stem}: not within {within_s:g} s: {what}\n{last}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 8 s."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(8)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have used so far, and hold now."""

    cpu_s: float
    rss_bytes: int


def usage(pids: Iterable[int]) -> Usage:
    """Of these processes and all their descendants that live."""
    cpu_ticks = rss_pages = 0
    for pid in _with_descendants(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended between listing and reading
        cpu_ticks += int(fields[11]) + int(fields[12])
        rss_pages += int(fields[21])
    return Usage(cpu_ticks / _TICKS_PER_S, rss_pages * _PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MiB of a process and of what it started."""

    root_mib: float
    children_mib: float


def memory(pid: int) -> Memory:
    """Now. Pages that both hold count twice."""
    whole, root = usage([pid]).rss_bytes, _rss_pages(pid) * _PAGE_BYTES
    return Memory(root / 2**20, max(0, whole - root) / 2**20)


def _rss_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def core_busy_s(core: int) -> float:
    """Seconds that anyone has used `core` since the machine started."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, fields)
            return (user + nice + system + irq + softirq) / _TICKS_PER_S
    raise Failed(f"this machine has no core {core}; the bench needs two")


def _with_descendants(pids: Iterable[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(each.name))
    found = list(pids)
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def free_port() -> int:
    """A port of the loopback address that nobody has at the moment, nor is given for an outgoing connection."""
    (port,) = free_ports(1, random.Random())
    return port
