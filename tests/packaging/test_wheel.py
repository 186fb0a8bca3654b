"""Wheels: pure Python, and with the compiled hot path where it is asked for."""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sidecar.agent.worker_process import WorkerProcess, start_worker
from sidecar.compile import HOT
from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied, Apply, Ready, ToAgent
from sidecar.config.route import DirectResponse, Route, RouteConfiguration, RouteMatch, VirtualHost
from sidecar.config.snapshot import Node, Snapshot
from tests.sidecar.worker.proxy import listening_socket

ROOT = Path(__file__).parents[2]
Eventually = Callable[..., Awaitable[None]]

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="apt-get install gcc python3-dev")


def build(target: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A wheel of this tree, with what the environment has of build requirements."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        f"{target}",
        f"{ROOT}",
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("REMORA_COMPILE", "CC")}
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, check=False)


def extension_modules(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.endswith(".so")}


def the_wheel(directory: Path) -> Path:
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_a_wheel_is_pure_python_unless_told_otherwise(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert the_wheel(tmp_path).name.endswith("-py3-none-any.whl")
    assert extension_modules(the_wheel(tmp_path)) == set()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"REMORA_COMPILE": "1", "CC": "no-such-compiler"}, "REMORA_COMPILE=1 needs a C compiler"),
        ({"REMORA_COMPILE": "yes"}, "REMORA_COMPILE is 'yes'; write 1"),
    ],
    ids=["no compiler", "an unknown word"],
)
def test_what_can_not_be_compiled_fails_with_a_reason(tmp_path: Path, variables: Mapping[str, str], words: str) -> None:
    done = build(tmp_path, **variables)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.timeout(600)
async def test_a_compiled_wheel_runs_a_sidecar_in_a_fresh_environment(tmp_path: Path, eventually: Eventually) -> None:
    done = await asyncio.to_thread(build, tmp_path, REMORA_COMPILE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = the_wheel(tmp_path)
    assert not wheel.name.endswith("-none-any.whl")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert extension_modules(wheel) >= {f"sidecar/{name}{suffix}" for name in HOT}

    python = await asyncio.to_thread(install, wheel, tmp_path / "fresh")
    events = Events()
    worker = await start_worker((str(python), "-P", "-m", "sidecar.worker"), events)
    try:
        await eventually(lambda: events.got(Ready), "the worker is ready", within=30)
        used = Path(f"/proc/{worker.pid}/maps").read_text()
        assert str(tmp_path / "fresh") in "\n".join(line for line in used.splitlines() if "__mypyc" in line)
        sock, address = listening_socket()
        worker.send_sockets({address: sock.fileno()})
        worker.send(Apply(1, teapot(address)))
        await eventually(lambda: events.got(Applied), "it serves")
        sock.close()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 418 ")
        assert answer.endswith(b"short and stout")
    finally:
        status = await worker.end(10)
    assert status == 0


class Events:
    """What the worker says."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def on_message(self, worker: WorkerProcess, message: ToAgent) -> None:
        self.messages.append(message)

    def on_gone(self, worker: WorkerProcess, why: str) -> None:
        self.messages.append(why)

    def got(self, kind: type) -> bool:
        return any(isinstance(message, kind) for message in self.messages)


def install(wheel: Path, directory: Path) -> Path:
    """Its interpreter. What the project depends on is this environment's; the project itself comes from the wheel."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    # A path in a .pth file is searched for packages, but its own .pth files, one of them ours, are not read.
    (packages / "dependencies.pth").write_text(f"{Path(uvloop.__file__).parents[1]}\n")
    return python


def teapot(address: Address) -> Snapshot:
    route = Route("teapot", RouteMatch(), DirectResponse(418, b"short and stout"))
    routes = RouteConfiguration("local", (VirtualHost("all", ("*",), (route,)),))
    chain = FilterChain(TransportMatch.ANY, Http(routes=routes))
    return Snapshot("1", Node(id="sidecar~me"), listeners=(Listener("in", address, Direction.INBOUND, (chain,)),))
