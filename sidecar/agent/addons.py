"""The processes of the addon scripts that the configuration names: one each, in mitmproxy's environment, kept alive.

A process that ends, or whose beat stops because a hook blocks it, is replaced with back-off. Its Unix socket exists
only while it serves: without it a worker's call fails at once rather than late.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from mesh.clock import Clock
from mesh.inspection import HOW_TO_INSTALL, Inspection
from mesh.lifecycle import TaskScope
from sidecar.agent.addon_output import pass_on
from sidecar.agent.backoff import Backoff
from sidecar.net.addon_channel import socket_path

SIDE = Path(__file__).resolve().parent / "addon_side"
"""Has one package, `remora_addons`."""

MAX_PROCESSES = 16
"""Scripts beyond that have none, and fail."""

SILENCE_S = 8.0
"""Beats come every second; so long without one, and the process is replaced."""

START_S = 30.0
"""How long it may take to the first beat: mitmproxy takes a second to import, on a busy machine more."""

WARM_S = 5.0
"""How long a configuration waits for the processes of the scripts that it names."""

STABLE_S = 30.0
END_PATIENCE_S = 2.0

_log = logging.getLogger("remora.addon")


class AddonProcess:
    """One script's. `run` until cancelled."""

    def __init__(
        self, script: str, file: Path, path: str, inspection: Inspection, backoff: Backoff, clock: Clock
    ) -> None:
        self._script = script
        self._file = file
        self._path = path
        self._inspection = inspection
        self._backoff = backoff
        self._clock = clock
        self.settled = asyncio.Event()
        """It has served, or it is known that it does not."""
        self.serves = False
        self.trouble = "its process has not started yet"
        """Why the script does nothing; empty when it works."""
        self.ends = 0

    async def run(self) -> None:
        while True:
            began = self._clock.monotonic()
            try:
                why = await self._serve()
            except OSError as error:
                why = f"it can not be started: {error}"
            self._say(why)
            self.ends += 1
            self.settled.set()
            if self._clock.monotonic() - began > STABLE_S:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next_s())

    async def _serve(self) -> str:
        """From start to end of one process; returns why it ended."""
        if self._inspection.installed() is None:
            return HOW_TO_INSTALL
        waiting = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(waiting)
        reading, writing = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(waiting)
                listening.listen(64)
                process = await self._start(listening.fileno(), writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            async with TaskScope() as scope:
                assert process.stderr is not None
                scope.spawn(pass_on(process.stderr, self._script, self._clock), name="addon output")
                return await self._attend(process, reading, waiting)
        finally:
            self.serves = False
            for path in (self._path, waiting):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            await _end(process)

    async def _start(self, listening: int, beats: int) -> asyncio.subprocess.Process:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            str(self._inspection.python), "-P", "-m", "remora_addons.host",
            "--script", str(self._file), "--socket-fd", str(listening), "--beat-fd", str(beats),
            "--confdir", str(self._inspection.confdir),
            pass_fds=(listening, beats),
            env={**kept, "PYTHONPATH": str(SIDE)},
            cwd=self._file.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    async def _attend(self, process: asyncio.subprocess.Process, reading: int, waiting: str) -> str:
        beats = asyncio.StreamReader(limit=4096)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(beats), os.fdopen(reading, "rb", buffering=0)
        )
        try:
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S if self.serves else START_S):
                        beat = await beats.readline()
                except TimeoutError:
                    return "it does not answer: replaced"
                if not beat:
                    status = await process.wait()
                    return f"its process ended with status {status}"
                self._beat(beat.decode("utf-8", "replace").strip(), waiting)
        finally:
            transport.close()

    def _beat(self, trouble: str, waiting: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            _log.log(logging.ERROR if trouble else logging.INFO, "%s", trouble or f"{self._script} serves")
        if not self.serves:
            os.rename(waiting, self._path)
            self.serves = True
            self.settled.set()

    def _say(self, why: str) -> None:
        if why != self.trouble:
            _log.error("%s: %s", self._script, why)
        self.trouble = why


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_PATIENCE_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class AddonProcesses:
    """All of a sidecar's. `directory`: where its operator puts scripts; None: it runs none."""

    def __init__(
        self, directory: Path | None, inspection: Inspection, backoff: Callable[[], Backoff], clock: Clock
    ) -> None:
        self._directory = directory
        self._inspection = inspection
        self._backoff = backoff
        self._clock = clock
        self._processes: dict[str, AddonProcess] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.restarts = 0
        # Mode 0700: nobody else's requests shall reach the scripts.
        self.sockets = tempfile.mkdtemp(prefix="remora-addons-") if directory is not None else ""
        """For the workers; empty: there are no scripts here."""

    @property
    def processes(self) -> list[AddonProcess]:
        return list(self._processes.values())

    async def use(self, scripts: Iterable[str], scope: TaskScope) -> None:
        """Have a process for each of these, and for no other. Waits a moment for those that are new."""
        wanted = set(scripts)
        if self._directory is None:
            return
        for script in sorted(set(self._processes) - wanted):
            task = self._tasks.pop(script)
            self.restarts += self._processes.pop(script).ends
            task.cancel()
            await asyncio.wait([task])
        new = sorted(wanted - set(self._processes))
        for script in new[: MAX_PROCESSES - len(self._processes)]:
            path = socket_path(self.sockets, script)
            process = AddonProcess(
                script, self._directory / script, path, self._inspection, self._backoff(), self._clock
            )
            self._processes[script] = process
            self._tasks[script] = scope.spawn(process.run(), name=f"addon {script}")
        waiting = [self._processes[script].settled.wait() for script in new if script in self._processes]
        if waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WARM_S):
                    await asyncio.gather(*waiting)

    @property
    def ends(self) -> int:
        """Processes that ended though they should not have."""
        return self.restarts + sum(process.ends for process in self._processes.values())

    def close(self) -> None:
        """When the tasks have ended."""
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)
