"""One child process of the supervisor: started, told ready by a pipe, restarted with back-off, ended in time.

A child is in a session of its own, so that Ctrl-C reaches the supervisor alone. It holds the read end of the lifeline:
when the supervisor is gone, however it went, the child ends by itself.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mesh.clock import Clock
from remora.failure import Failure
from remora.up.forks import ForkServer, NoFork
from remora.up.processes import PYTHON, Process, Spawned, exited

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
STEADY_S = 20.0
"""A child that ran this long is restarted as if it had never failed."""

MAX_READY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute. The descriptors for readiness and lifeline are added to `argv` as flags."""

    argv: Sequence[str]
    env: Mapping[str, str]
    fds: tuple[int, ...] = ()
    """Inherited under the same numbers."""


Prepare = Callable[[], Awaitable[Command]]
"""Called before every start: a token may have to be fetched anew. Raises Failure when that fails; it is tried again."""


@dataclass(slots=True)
class Hooks:
    """Who wants to know."""

    started: Callable[["Child"], None] = field(default=lambda _: None)
    ready: Callable[["Child", dict[str, Any]], None] = field(default=lambda *_: None)
    """Every time; with what the child reported."""
    ended: Callable[["Child", str], None] = field(default=lambda *_: None)


class EndedEarly(Failure):
    """The child ended before it was ever ready: `up` has failed, not merely a child of it."""


class Child:
    """Supervises one process. `run` never returns by itself; `stop` ends both."""

    def __init__(
        self,
        name: str,
        prepare: Prepare,
        *,
        log: Path,
        lifeline: int,
        clock: Clock,
        hooks: Hooks,
        forks: ForkServer | None = None,
    ) -> None:
        """`forks`: where the process comes from, as long as there is one; its command begins with PYTHON."""
        self.name = name
        self.pid: int | None = None
        self.restarts = 0
        loop = asyncio.get_running_loop()
        self.first_started: asyncio.Future[None] = loop.create_future()
        """Done when there was a first process; EndedEarly if there never was."""
        self.first_ready: asyncio.Future[dict[str, Any]] = loop.create_future()
        """What the child reported when it was first ready; EndedEarly if it never was."""
        self._prepare = prepare
        self._log = log
        self._lifeline = lifeline
        self._clock = clock
        self._hooks = hooks
        self._forks = forks
        self._process: Process | None = None
        self._exited = asyncio.Event()
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self.pid} restarts={self.restarts}>"

    async def run(self) -> None:
        """Keep the child running."""
        delay_s = BACKOFF_FIRST_S
        while True:
            began = self._clock.monotonic()
            why = await self._once()
            if self._stopping:
                return
            if not self.first_ready.done():
                self._fail(f"{self.name} did not start: {why}{self._last_words()}")
                return
            self._hooks.ended(self, why)
            if self._clock.monotonic() - began > STEADY_S:
                delay_s = BACKOFF_FIRST_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)
            self.restarts += 1

    def _fail(self, reason: str) -> None:
        for future in (self.first_started, self.first_ready):
            if not future.done():
                future.set_exception(EndedEarly(reason))
                future.exception()  # marks it retrieved: whoever waits gets it all the same

    async def _once(self) -> str:
        """Start the child and wait for its end; returns how it ended."""
        try:
            command = await self._prepare()
        except (Failure, OSError) as failure:
            return str(failure)
        if self._stopping:
            return "stopped"
        ready_read, ready_write = os.pipe()
        self._exited.clear()
        try:
            self._process = process = await self._start(command, ready_write)
        except OSError as error:
            os.close(ready_read)
            at = "" if error.filename in (None, command.argv[0]) else f"{error.filename}: "
            return f"cannot execute {command.argv[0]}: {at}{error.strerror}"
        finally:
            os.close(ready_write)
        self.pid = process.pid
        if not self.first_started.done():
            self.first_started.set_result(None)
        self._hooks.started(self)
        watcher = _ReadyWatcher(ready_read, self._became_ready)
        try:
            await exited(self.pid)
        finally:
            watcher.close()
            status = await self._reap(process)
        return _describe(status)

    async def _start(self, command: Command, ready_fd: int) -> Process:
        """Raises OSError."""
        argv = [*command.argv, "--ready-fd", str(ready_fd), "--lifeline-fd", str(self._lifeline)]
        fds = (*command.fds, ready_fd, self._lifeline)
        with self._opened_log() as log:
            if self._forks is not None:
                with contextlib.suppress(NoFork):  # it has said why; nothing but time is lost
                    return await self._forks.fork(argv[len(PYTHON) :], command.env, log.fileno(), fds)
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - argv is ours, no shell; forking is quick
                argv,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                start_new_session=True,
            )
            return Spawned(process)

    def _opened_log(self) -> BinaryIO:
        log = open(self._log, "ab")  # noqa: SIM115 - whoever asks closes it
        os.fchmod(log.fileno(), 0o600)
        return log

    async def _reap(self, process: Process) -> int:
        """Take the exit status; first, while its pid is still its own, end what the child may have left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = await process.reap()
        self.pid = None
        self._exited.set()
        return status

    def _became_ready(self, report: dict[str, Any]) -> None:
        if not self.first_ready.done():
            self.first_ready.set_result(report)
        self._hooks.ready(self, report)

    def begin_stop(self) -> None:
        """Tell the child to end, and do not start it again."""
        self._stopping = True
        for future in (self.first_started, self.first_ready):
            future.cancel()
        if self._process is not None and self._process.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    async def wait_stopped(self, deadline: float) -> None:
        """Wait until the child is gone; at `deadline` (monotonic) it is killed."""
        if self._process is None or self._process.status is not None:
            return
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._exited.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._exited.wait()

    def _last_words(self) -> str:
        """The end of what the child wrote, for the one line that the user gets."""
        try:
            with open(self._log, "rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 4096))
                lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            return ""
        return f": {lines[-1].strip()}" if lines else ""


class _ReadyWatcher:
    """Reads one JSON line from the readiness pipe."""

    def __init__(self, fd: int, report: Callable[[dict[str, Any]], None]) -> None:
        self._fd = fd
        self._report = report
        self._received = b""
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def close(self) -> None:
        """Stop reading; idempotent."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        data = os.read(self._fd, MAX_READY_BYTES)
        self._received += data
        line, newline, _ = self._received.partition(b"\n")
        if newline:
            try:
                report = json.loads(line)
            except ValueError:
                report = None
            self.close()
            if isinstance(report, dict):
                self._report(report)
        elif not data or len(self._received) > MAX_READY_BYTES:
            self.close()


def _describe(status: int) -> str:
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
