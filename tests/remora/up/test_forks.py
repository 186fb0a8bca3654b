"""What a fork server makes is a process of its own, with what it was to be given; and nothing depends on the server."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from remora.up.child import Child, Command, Hooks
from remora.up.forks import Forked, ForkServer, NoFork
from remora.up.mesh import PRELOADED
from remora.up.processes import PYTHON, exited

Eventually = Callable[..., Awaitable[None]]

TELLS = """
import json, os, sys
import heavy
told = {"arguments": sys.argv[1:], "name": __name__, "environ": dict(os.environ), "session": os.getsid(0),
        "group": os.getpgid(0), "loaded_by": heavy.pid, "stdin": os.read(0, 9).decode()}
os.write(int(sys.argv[1]), json.dumps(told).encode())
"""
ENDS = "import sys\nprint('last words', flush=True)\nsys.exit(int(sys.argv[1]))\n"
WAITS = "import signal\nsignal.pause()\n"
SERVES = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.write(int(sys.argv[-3]), b'{"loaded_by": %d}\\n' % __import__("heavy").pid)
while True: signal.pause()
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ForkServer]:
    for name, code in (("tells", TELLS), ("ends", ENDS), ("waits", WAITS), ("serves", SERVES)):
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "heavy.py").write_text("import os\npid = os.getpid()\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    server = ForkServer(["heavy"], log=tmp_path / "server.log", env=environ)
    yield server
    server.close()


async def forked(server: ForkServer, log: Path, *argv: str, env: dict[str, str] | None = None, fds: Any = ()) -> Forked:
    with open(log, "ab") as output:
        return await asyncio.wait_for(server.fork(argv, env or {}, output.fileno(), fds), 20)


async def status(process: Forked) -> int:
    await asyncio.wait_for(exited(process.pid), 20)
    return await process.reap()


async def test_a_fork_has_its_arguments_environment_descriptors_and_session_and_the_imports_of_the_server(
    server: ForkServer, tmp_path: Path
) -> None:
    read_end, write_end = os.pipe()
    # A number that the server is likely to receive the descriptor under: 1 and 2 at least must survive the moves.
    for number in (write_end, 4, 90):
        copy = os.dup2(write_end, number) if number == 90 else write_end
        process = await forked(server, tmp_path / "log", "tells", str(copy), "x y", env={"A": "1"}, fds=[copy])
        assert await status(process) == 0, (tmp_path / "log").read_text()
        told = json.loads(os.read(read_end, 65536))
        assert told == {
            "arguments": [str(copy), "x y"],
            "name": "__main__",
            "environ": {"A": "1"},
            "session": process.pid,
            "group": process.pid,
            "loaded_by": server.pid,
            "stdin": "",
        }
    for each in (read_end, write_end, 90):
        os.close(each)


async def test_the_exit_status_and_the_output_are_the_forks_own(server: ForkServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert await status(await forked(server, log, "ends", "3")) == 3
    assert log.read_text() == "last words\n"
    killed = await forked(server, log, "waits")
    os.kill(killed.pid, signal.SIGKILL)
    assert await status(killed) == -signal.SIGKILL
    assert killed.status == -signal.SIGKILL


async def test_a_module_that_is_not_there_is_the_forks_trouble_alone(server: ForkServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert await status(await forked(server, log, "nowhere")) == 1
    assert "No module named nowhere" in log.read_text()
    assert await status(await forked(server, log, "ends", "0")) == 0


async def test_a_fork_that_nobody_waits_for_any_more_is_killed(
    server: ForkServer, tmp_path: Path, eventually: Eventually
) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    log = tmp_path / "log"
    asking = asyncio.ensure_future(forked(server, log, "waits"))
    await eventually(lambda: "1 waiting" in repr(server), "the request is on its way")
    asking.cancel()
    await asyncio.wait([asking])
    os.kill(server.pid, signal.SIGCONT)
    # Answers come in order: when the next is there, the first has been dealt with.
    assert await status(await forked(server, log, "ends", "0")) == 0
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    await eventually(
        lambda: all(" Z " in Path(f"/proc/{pid}/stat").read_text() for pid in children.read_text().split()),
        "no fork runs",
    )


async def test_without_its_server_a_request_fails_at_once_and_forks_go_on(
    server: ForkServer, tmp_path: Path, eventually: Eventually
) -> None:
    process = await forked(server, tmp_path / "log", "waits")
    os.kill(server.pid, signal.SIGKILL)
    await eventually(lambda: "gone" in repr(server), "the server's end is noticed")
    with pytest.raises(NoFork, match="gone"):
        await forked(server, tmp_path / "log", "waits")
    os.kill(process.pid, 0)
    os.kill(process.pid, signal.SIGKILL)
    assert await status(process) == -signal.SIGKILL


async def test_a_child_comes_from_the_server_again_and_again_and_from_nowhere_else_only_when_that_is_gone(
    server: ForkServer, tmp_path: Path, eventually: Eventually
) -> None:
    async def prepare() -> Command:
        return Command([*PYTHON, "serves"], os.environ | {"PYTHONPATH": str(tmp_path)})

    reports: list[dict[str, Any]] = []
    ends: list[str] = []
    hooks = Hooks(ready=lambda _, report: reports.append(report), ended=lambda _, why: ends.append(why))
    lifeline = os.pipe()
    clock = SystemClock()
    child = Child("it", prepare, log=tmp_path / "log", lifeline=lifeline[0], clock=clock, hooks=hooks, forks=server)
    async with TaskScope() as scope:
        scope.spawn(child.run(), name="it")
        for count in (1, 2, 3):
            await eventually(lambda count=count: len(reports) == count, f"start {count}", within=20)
            if count == 2:
                os.kill(server.pid, signal.SIGKILL)
                await eventually(lambda: "gone" in repr(server), "the server's end is noticed")
            if count < 3:
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
        assert [report["loaded_by"] for report in reports] == [server.pid, server.pid, child.pid]
        assert ends == ["ended by SIGKILL", "ended by SIGKILL"]
        child.begin_stop()
        await child.wait_stopped(clock.monotonic() + 10)
    for each in lifeline:
        os.close(each)


@pytest.mark.parametrize("name", PRELOADED)
async def test_what_the_mesh_preloads_starts_no_thread_that_a_fork_would_miss(name: str, tmp_path: Path) -> None:
    server = ForkServer(PRELOADED[name], log=tmp_path / "log", env=os.environ)
    try:
        process = await forked(server, tmp_path / "log", "platform", env={"PATH": "/bin"})
        assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
        assert await status(process) == 0
        lines = (tmp_path / "log").read_text().splitlines()
        assert len(lines) == 1, "nothing is said, a warning of an import least of all"
        assert sys.platform in lines[0].lower()
    finally:
        server.close()
