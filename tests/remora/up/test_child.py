"""A child is told ready, started again when it dies, and gone when it should be."""

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.failure import Failure
from remora.up.child import Child, Command, EndedEarly, Hooks, Prepare

Eventually = Callable[..., Awaitable[None]]

READY = """
import os, select, signal, sys
ready, lifeline = int(sys.argv[-3]), int(sys.argv[-1])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.write(ready, b'{"pid": %d}\\n' % os.getpid()); os.close(ready)
"""
SERVES = READY + "select.select([lifeline], [], [])\n"
IGNORES_SIGTERM = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nselect.select([lifeline], [], [])\n"


def command(code: str) -> Prepare:
    async def prepare() -> Command:
        return Command([sys.executable, "-c", code], dict(os.environ))

    return prepare


@asynccontextmanager
async def supervised(prepare: Prepare, log: Path, **hooks: Any) -> AsyncIterator[Child]:
    read_end, write_end = os.pipe()
    child = Child("it", prepare, log=log, lifeline=read_end, clock=SystemClock(), hooks=Hooks(**hooks))
    async with TaskScope() as scope:
        scope.spawn(child.run(), name="it")
        try:
            yield child
        finally:
            child.begin_stop()
            await child.wait_stopped(time.monotonic() + 2)
            os.close(write_end)
            os.close(read_end)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_ready_brings_what_the_child_reported(tmp_path: Path) -> None:
    async with supervised(command(SERVES), tmp_path / "log") as child:
        report = await asyncio.wait_for(child.first_ready, 10)
        assert report == {"pid": child.pid}


async def test_a_killed_child_is_started_again(tmp_path: Path, eventually: Eventually) -> None:
    ends: list[str] = []
    async with supervised(command(SERVES), tmp_path / "log", ended=lambda _, why: ends.append(why)) as child:
        await asyncio.wait_for(child.first_ready, 10)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: child.restarts == 1 and child.pid not in (None, first), "a new process", within=10)
        assert ends == ["ended by SIGKILL"]


async def test_restarts_wait_longer_each_time(tmp_path: Path, eventually: Eventually) -> None:
    starts: list[float] = []
    code = READY + "sys.exit(3)\n"
    async with supervised(command(code), tmp_path / "log", started=lambda _: starts.append(time.monotonic())):
        await eventually(lambda: len(starts) >= 4, "four starts", within=20)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[0] >= 0.1
    assert gaps[1] >= 0.2
    assert gaps[2] >= 0.4


async def test_a_child_that_never_was_ready_fails_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; sys.exit('port 1 is in use')"
    async with supervised(command(code), tmp_path / "log") as child:
        with pytest.raises(EndedEarly, match="it did not start: ended with status 1: port 1 is in use"):
            await asyncio.wait_for(child.first_ready, 10)


async def test_what_can_not_be_executed_fails_with_the_reason(tmp_path: Path) -> None:
    async def prepare() -> Command:
        return Command(["/nonexistent/program"], {})

    async with supervised(prepare, tmp_path / "log") as child:
        with pytest.raises(EndedEarly, match="cannot execute /nonexistent/program: No such file or directory"):
            await asyncio.wait_for(child.first_ready, 10)


async def test_a_log_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    log = tmp_path / "none" / "log"
    async with supervised(command("pass"), log) as child:
        with pytest.raises(EndedEarly, match=f"cannot execute .*: {log}: No such file or directory"):
            await asyncio.wait_for(child.first_ready, 10)


async def test_a_disk_that_is_full_when_a_child_is_started_again_is_waited_for(
    tmp_path: Path, eventually: Eventually
) -> None:
    attempts: list[int] = []
    working = command(SERVES)

    async def prepare() -> Command:
        attempts.append(1)
        if len(attempts) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "token")
        return await working()

    async with supervised(prepare, tmp_path / "log") as child:
        await asyncio.wait_for(child.first_ready, 10)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: len(attempts) == 3 and child.pid is not None, "it is started again")


async def test_preparing_again_is_tried_again(tmp_path: Path, eventually: Eventually) -> None:
    attempts: list[int] = []
    working = command(SERVES)

    async def prepare() -> Command:
        attempts.append(1)
        if len(attempts) == 2:
            raise Failure("the control plane is away")
        return await working()

    ends: list[str] = []
    async with supervised(prepare, tmp_path / "log", ended=lambda _, why: ends.append(why)) as child:
        await asyncio.wait_for(child.first_ready, 10)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: len(attempts) == 3 and child.pid is not None, "a third attempt", within=10)
    assert ends == ["ended by SIGKILL", "the control plane is away"]


async def test_stopping_ends_it_and_starts_it_no_more(tmp_path: Path) -> None:
    starts: list[int] = []
    async with supervised(command(SERVES), tmp_path / "log", started=lambda _: starts.append(1)) as child:
        await asyncio.wait_for(child.first_ready, 10)
        pid = child.pid
        assert pid is not None
        child.begin_stop()
        await child.wait_stopped(time.monotonic() + 5)
        assert gone(pid)
    assert starts == [1]


async def test_one_that_does_not_listen_is_killed_at_the_deadline(tmp_path: Path) -> None:
    async with supervised(command(IGNORES_SIGTERM), tmp_path / "log") as child:
        await asyncio.wait_for(child.first_ready, 10)
        pid = child.pid
        assert pid is not None
        began = time.monotonic()
        child.begin_stop()
        await child.wait_stopped(time.monotonic() + 0.3)
        assert gone(pid)
        assert time.monotonic() - began < 2


async def test_what_a_dead_child_left_running_is_ended(tmp_path: Path, eventually: Eventually) -> None:
    """An agent's worker, say, that did not notice."""
    left = tmp_path / "left"
    code = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen(['sleep', '60']); open({str(left)!r}, 'w').write(str(p.pid))\n" + SERVES
    )
    async with supervised(command(code), tmp_path / "log") as child:
        await asyncio.wait_for(child.first_ready, 10)
        assert child.pid is not None
        grandchild = int(left.read_text())
        os.kill(child.pid, signal.SIGKILL)

        def ended() -> bool:
            try:
                return Path(f"/proc/{grandchild}/stat").read_text().split()[2] == "Z"
            except FileNotFoundError:
                return True

        await eventually(ended, "the grandchild's end", within=10)


async def test_the_log_is_private_and_appended_to(tmp_path: Path, eventually: Eventually) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    async with supervised(command("print('hello', flush=True)\n" + SERVES), log) as child:
        await asyncio.wait_for(child.first_ready, 10)
    assert log.read_text() == "before\nhello\n"
    assert log.stat().st_mode & 0o777 == 0o600
