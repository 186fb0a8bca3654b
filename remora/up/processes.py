"""Processes of ours: how an interpreter is called, and waiting for an end without a thread and without reaping."""

import asyncio
import os
import subprocess
import sys
from typing import Protocol

PYTHON = (sys.executable, "-P", "-m")
"""-P: a directory named `mesh` or `control` where the user stands must not take our packages' place."""


class Process(Protocol):
    """A child that has been started, however."""

    pid: int
    """Its own until `reap`, even after its end."""
    status: int | None
    """Of its end, minus a signal's number; None before `reap`."""

    async def reap(self) -> int:
        """Take the status of a process that has ended, or is about to."""


class Spawned:
    """A Process that we have started ourselves."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid
        self.status: int | None = None

    async def reap(self) -> int:
        """At once, if it has ended."""
        self.status = self._process.wait()
        return self.status


async def exited(pid: int) -> None:
    """Return when the process `pid` has ended, that nobody reaps meanwhile: the pid is not yet another's."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
