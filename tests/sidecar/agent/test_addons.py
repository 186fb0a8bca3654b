"""Addon processes are kept alive, and gone when nothing names them."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from mesh.clock import SystemClock
from mesh.inspection import HOW_TO_INSTALL, Inspection
from mesh.lifecycle import TaskScope
from sidecar.agent import addons
from sidecar.agent.addons import AddonProcesses
from sidecar.agent.backoff import Backoff
from sidecar.net.addon_channel import AddonChannels, AddonFailed, socket_path
from tests.remora.inspection import inspection
from tests.sidecar.addons import scripts

Eventually = Callable[..., Awaitable[None]]

REQUEST = {
    "method": b"GET", "scheme": b"http", "authority": b"a", "target": b"/mocked", "version": "HTTP/1.1",
    "headers": [], "body": b"", "client": "127.0.0.1:1", "route": "",
}  # fmt: skip


class Agent:
    """The part of it that has to do with addons."""

    def __init__(self, directory: Path, found: Inspection, scope: TaskScope) -> None:
        directory.mkdir()
        self.directory = directory
        self.scope = scope
        rng = random.Random(1)
        self.processes = AddonProcesses(directory, found, lambda: Backoff(rng, base_s=0.05, max_s=0.2), SystemClock())
        self.channels = AddonChannels(asyncio.get_running_loop(), scope)
        self.channels.directory = self.processes.sockets

    async def use(self, *names: str) -> None:
        await self.processes.use(names, self.scope)

    async def ask(self, script: str) -> str:
        """The kind of the answer."""
        channel = self.channels.of(script)
        assert channel is not None
        return (await channel.call(channel.begin(), "request", REQUEST, 10.0))[0]

    def children(self) -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if "remora_addons.host" in each.cmdline()]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with TaskScope() as scope:
        made = Agent(tmp_path / "addons", inspection(), scope)
        yield made
        made.channels.close()
        await made.use()
        assert made.children() == []
        made.processes.close()
    assert not Path(made.processes.sockets).exists()


async def test_a_script_serves_when_the_configuration_that_names_it_does(agent: Agent) -> None:
    (agent.directory / "mock.py").write_text(scripts.MOCK)
    await agent.use("mock.py")
    assert await agent.ask("mock.py") == "response"
    assert [process.trouble for process in agent.processes.processes] == [""]
    await agent.use()
    assert agent.children() == []
    with pytest.raises(AddonFailed):
        await agent.ask("mock.py")
    assert os.listdir(agent.processes.sockets) == []


async def test_each_script_has_a_process_of_its_own(agent: Agent, eventually: Eventually) -> None:
    (agent.directory / "mock.py").write_text(scripts.MOCK)
    (agent.directory / "crash.py").write_text("import os\ndef request(flow): os._exit(3)")
    await agent.use("mock.py", "crash.py")
    assert len(agent.children()) == 2
    with pytest.raises(AddonFailed, match="went away"):
        await agent.ask("crash.py")
    assert await agent.ask("mock.py") == "response"
    await eventually(lambda: agent.processes.ends == 1 and len(agent.children()) == 2, "it is replaced", within=10)


async def test_a_process_that_is_killed_is_replaced(agent: Agent, eventually: Eventually) -> None:
    (agent.directory / "mock.py").write_text(scripts.MOCK)
    await agent.use("mock.py")
    (child,) = agent.children()
    child.send_signal(signal.SIGKILL)

    async def serves() -> bool:
        try:
            return await agent.ask("mock.py") == "response"
        except AddonFailed:
            return False

    await eventually(serves, "another serves", within=15)
    assert agent.children() != [child]


async def test_a_process_that_hangs_is_replaced(agent: Agent, eventually: Eventually) -> None:
    (agent.directory / "mock.py").write_text(scripts.MOCK)
    await agent.use("mock.py")
    (child,) = agent.children()
    child.suspend()
    await eventually(lambda: agent.processes.ends == 1, "it is given up", within=addons.SILENCE_S + 5)
    assert not child.is_running()


async def test_a_script_that_is_not_there_says_so(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    await agent.use("nothing.py")
    (process,) = agent.processes.processes
    assert process.trouble.startswith("nothing.py can not be loaded: FileNotFoundError")
    with pytest.raises(AddonFailed, match="can not be loaded"):
        await agent.ask("nothing.py")
    assert process.trouble in caplog.text


async def test_without_mitmproxy_one_line_says_how_to_get_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with TaskScope() as scope:
        agent = Agent(tmp_path / "addons", Inspection(tmp_path / "nothing"), scope)
        await agent.use("mock.py")
        with pytest.raises(AddonFailed, match="can not be reached"):
            await agent.ask("mock.py")
        assert caplog.text.count(HOW_TO_INSTALL) == 1
        await agent.use()
        agent.processes.close()


async def test_what_a_script_prints_is_in_the_sidecars_log(
    agent: Agent, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    caplog.set_level("INFO")
    (agent.directory / "log.py").write_text(scripts.LOG)
    await agent.use("log.py")
    await agent.ask("log.py")
    await eventually(lambda: "log.py: INFO We've seen 1 flows: GET http://a/mocked" in caplog.text, "it is logged")


async def test_a_sidecar_that_runs_no_scripts_has_no_sockets(tmp_path: Path) -> None:
    processes = AddonProcesses(None, Inspection(tmp_path), lambda: Backoff(random.Random(1)), SystemClock())
    async with TaskScope() as scope:
        await processes.use(["a.py"], scope)
    assert (processes.sockets, processes.processes) == ("", [])


def test_a_sockets_path_is_short_enough() -> None:
    assert len(socket_path("/tmp/remora-addons-12345678", "x" * 200) + ".new") < 100
