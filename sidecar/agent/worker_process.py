"""One worker process, seen from the agent: start it, talk to it, know that it is gone."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sidecar.config.endpoint import Address
from sidecar.config.messages import Listen, ToAgent, ToWorker
from sidecar.net.channel import Channel

COMMAND: Sequence[str] = (sys.executable, "-P", "-m", "sidecar.worker")
"""`-P`: a directory named sidecar or mesh where the user stands must not take our packages' place."""

ADDRESSES_PER_MESSAGE = 32
"""Sockets that travel beside one frame; the kernel and the channel have limits of their own above it."""

_log = logging.getLogger("remora.workers")


class WorkerEvents(Protocol):
    """Who is told."""

    def on_message(self, worker: "WorkerProcess", message: ToAgent) -> None: ...

    def on_gone(self, worker: "WorkerProcess", why: str) -> None:
        """Once, when the channel has closed, whether the process has ended yet or not."""


class WorkerProcess:
    """A running worker. Created by `start_worker`."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket, events: WorkerEvents) -> None:
        self._process = process
        self._events = events
        self.pid = process.pid
        self.channel = Channel(
            sock,
            ToAgent,
            on_message=lambda message, fds: events.on_message(self, message),
            on_close=self._on_close,
        )

    def send(self, message: ToWorker) -> bool:
        """False if the worker is gone."""
        return self.channel.send(message)

    def send_sockets(self, descriptors: Mapping[Address, int]) -> None:
        """Hand over listening sockets. They stay open here."""
        items = list(descriptors.items())
        for start in range(0, len(items), ADDRESSES_PER_MESSAGE):
            part = items[start : start + ADDRESSES_PER_MESSAGE]
            self.channel.send(Listen(tuple(address for address, _ in part)), fds=[fd for _, fd in part])

    def _on_close(self, error: Exception | None) -> None:
        self._events.on_gone(self, "the channel closed" if error is None else f"{type(error).__name__}: {error}")

    async def end(self, patience_s: float) -> int:
        """Close the channel, wait for the process to end, kill it when patience ends. Returns its exit status."""
        self.channel.close()
        return await self.wait_or_kill(patience_s)

    async def wait_or_kill(self, patience_s: float) -> int:
        """The same with the channel left open for what the worker has still to say."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._process.wait()
        except TimeoutError:
            _log.warning("worker %d does not end: killed", self.pid)
            self.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """At once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def start_worker(command: Sequence[str], events: WorkerEvents, *, packages: Path | None = None) -> WorkerProcess:
    """Start a process with one end of a new channel. Raises OSError.

    `packages`: where its modules come from instead of where ours do: sidecar.compiled's build of them.
    """
    environment = None if packages is None else {**os.environ, "PYTHONPATH": str(packages)}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--channel-fd",
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C in a terminal reaches the agent alone, which then drains its workers.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return WorkerProcess(process, ours, events)
