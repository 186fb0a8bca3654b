"""The process of an addon script, started as the agent starts it, and a channel to it."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mesh.lifecycle import TaskScope
from sidecar.net.addon_channel import AddonChannel
from tests.remora.inspection import inspection

SIDE = Path(__file__).parents[3] / "sidecar/agent/addon_side"


class RunningHost:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, beats: asyncio.StreamReader, channel: AddonChannel) -> None:
        self.process = process
        self.beats = beats
        self.channel = channel
        self.number = 0

    async def beat(self) -> str:
        """What it says of the script, the next time."""
        return (await asyncio.wait_for(self.beats.readline(), 20)).decode().rstrip("\n")

    async def request(self, timeout_s: float = 10.0, **changes: Any) -> tuple[str, dict[str, Any]]:
        self.number = self.channel.begin()
        plain = {
            "method": b"GET",
            "scheme": b"http",
            "authority": b"reviews:9080",
            "target": b"/old/a?x=1",
            "version": "HTTP/1.1",
            "headers": [(b"x-removed", b"1"), (b"accept", b"*/*")],
            "body": b"",
            "client": "127.0.0.1:40000",
            "route": "default",
        }
        return await self.channel.call(self.number, "request", plain | changes, timeout_s)

    async def response(self, timeout_s: float = 10.0, **changes: Any) -> tuple[str, dict[str, Any]]:
        plain = {"status": 200, "headers": [(b"content-type", b"text/plain")], "body": b"fine"}
        return await self.channel.call(self.number, "response", plain | changes, timeout_s)


@contextlib.asynccontextmanager
async def running(script: Path, directory: Path, at: Path | None = None) -> AsyncIterator[RunningHost]:
    """`at`: where it listens."""
    found = inspection()
    path = at or directory / "addon.sock"
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        process = await asyncio.create_subprocess_exec(
            str(found.python), "-P", "-m", "remora_addons.host", "--script", str(script),
            "--socket-fd", str(listening.fileno()), "--beat-fd", str(writing), "--confdir", str(directory / "conf"),
            pass_fds=(listening.fileno(), writing), env={"PYTHONPATH": str(SIDE), "PATH": os.environ["PATH"]},
            stderr=sys.stderr,
        )  # fmt: skip
    os.close(writing)
    loop = asyncio.get_running_loop()
    beats = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(beats), os.fdopen(reading, "rb"))
    async with TaskScope() as scope:
        channel = AddonChannel(loop, scope, str(path))
        try:
            yield RunningHost(process, beats, channel)
        finally:
            channel.close()
            transport.close()
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), 20)
            await asyncio.sleep(0)
