"""The supervisor's side of a fork server: ask for a process, take its exit status, and do without when it is gone."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from remora.up.fork_server import MAX_DESCRIPTORS, MAX_REQUEST_BYTES
from remora.up.processes import PYTHON

_log = logging.getLogger("remora.up")


class NoFork(Exception):
    """The fork server can not; a process of one's own does as well, and starts later."""


class Forked:
    """A process that the server has forked. Its number stays its own until `reap`."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self._server = server
        self.pid = pid
        self.status: int | None = None
        """Of its end, minus a signal's number; known after `reap`."""

    async def reap(self) -> int:
        """Take the status of a process that has ended. A server that is gone has taken it along."""
        try:
            status = int((await self._server.ask({"reap": self.pid}))["status"])
        except NoFork:
            status = -signal.SIGKILL
        self.status = status
        return status


class ForkServer:
    """One server, started at once. Usable from one event loop."""

    def __init__(self, modules: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        """`modules` are what its forks need. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, open(log, "ab") as output:
            os.fchmod(output.fileno(), 0o600)
            fd = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - argv is ours, no shell
                [*PYTHON, "remora.up.fork_server", str(fd), *modules],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(fd,),
                start_new_session=True,
            )
        ours.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            ours.setsockopt(socket.SOL_SOCKET, option, MAX_REQUEST_BYTES)
        self._sock = ours
        self._waiting: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(ours, self._readable)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __repr__(self) -> str:
        return f"<ForkServer pid={self.pid} {'gone' if self._is_gone else f'{len(self._waiting)} waiting'}>"

    @property
    def _is_gone(self) -> bool:
        return self._sock.fileno() < 0

    async def fork(self, argv: Sequence[str], env: Mapping[str, str], output: int, fds: Sequence[int]) -> Forked:
        """A process that runs `argv`, a module's command line after PYTHON; `fds` keep their numbers, and `output` is
        its standard output and error. Raises NoFork."""
        module, *arguments = argv
        request = {"module": module, "arguments": arguments, "env": dict(env), "descriptors": list(fds)}
        answer = await self.ask(request, [output, *fds])
        if "pid" not in answer:
            raise NoFork(answer["error"])
        return Forked(self, answer["pid"])

    async def ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """One request, one answer. Raises NoFork."""
        data = json.dumps(request).encode()
        if self._is_gone or len(fds) > MAX_DESCRIPTORS or len(data) > MAX_REQUEST_BYTES:
            raise NoFork("the fork server is gone" if self._is_gone else "too much for one request")
        try:
            socket.send_fds(self._sock, [data], fds)
        except OSError as error:
            raise NoFork(f"the fork server takes no request: {error.strerror}") from error
        future: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._waiting.append(future)
        return await future

    def _readable(self) -> None:
        try:
            data = self._sock.recv(MAX_REQUEST_BYTES)
        except OSError:
            data = b""
        if not data:
            _log.error("the fork server is gone: children that end are started by themselves")
            self._hang_up()
            return
        answer = json.loads(data)
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(answer)
        elif "pid" in answer:
            os.kill(answer["pid"], signal.SIGKILL)  # nobody waits for it any more

    def _hang_up(self) -> None:
        if self._is_gone:
            return
        self._loop.remove_reader(self._sock)
        self._sock.close()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(NoFork("the fork server is gone"))

    def close(self) -> None:
        """End it. What it has forked goes on."""
        self._hang_up()
        self._process.kill()
        self._process.wait()
