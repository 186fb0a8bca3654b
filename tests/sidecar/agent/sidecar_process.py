"""A real `remora proxy` with its worker, beside an application of the test's, in the mesh of a real control plane."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.control.app.control_process import ControlProcess, workload


class Application:
    """Answers `/slow` when `release` is set, anything else at once, with the path that it was asked for."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ")[1]
                if path == b"/slow":
                    self.waiting += 1
                    await self.release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(path), path))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()


def bound() -> socket.socket:
    """A socket with a port, not listening yet: what the laptop's supervisor hands over."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def where(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


class Sidecar:
    """Register, start, ask, stop."""

    def __init__(self, control: ControlProcess, directory: Path, app: str) -> None:
        self.control = control
        self.directory = directory
        self.app = app
        self.sockets = {name: bound() for name in ("inbound", "outbound", "admin", "metrics")}
        self.info: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.lifeline: int | None = None
        self.log = directory / "sidecar.log"

    @property
    def outbound(self) -> int:
        port: int = self.sockets["outbound"].getsockname()[1]
        return port

    async def register(self, **changes: Any) -> dict[str, Any]:
        places = {name: where(sock) for name, sock in self.sockets.items()} | {"admin": "http://127.0.0.1:1"}
        record = workload("reviews-v1", ports=[{"name": "http", "service_port": 9080, "app": self.app}], **places)
        async with self.control.rest() as rest:
            response = await rest.post("/v1/workloads", json=record | changes)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def start(self, *flags: str, hand_over: tuple[str, ...] = ("inbound", "outbound")) -> None:
        """Until it is ready, unless `await_ready` is called by the test."""
        arguments, fds = await self.arguments(hand_over)
        reading, writing = os.pipe()
        lifeline, self.lifeline = os.pipe()
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *arguments, *flags, "--ready-fd", str(writing), "--lifeline-fd", str(lifeline),
                pass_fds=(*fds, writing, lifeline), stderr=log,
            )  # fmt: skip
        os.close(writing)
        os.close(lifeline)
        self._reading = reading

    async def arguments(self, hand_over: tuple[str, ...]) -> tuple[list[str], tuple[int, ...]]:
        answer = await self.register()
        token = self.directory / "token"
        token.touch(mode=0o600)
        token.write_text(answer["token"])
        root = self.directory / "root.pem"
        root.write_text(answer["root_pem"])
        fds = {name: sock.fileno() for name, sock in self.sockets.items()}
        arguments = [
            sys.executable, "-m", "remora", "proxy", "--node-id", answer["node_id"], "--workload", "reviews-v1",
            "--namespace", "default", "--service", "reviews", "--version", "v1", "--identity", answer["identity"],
            "--ads", answer["ads"], "--csr", answer["csr"], "--root", str(root), "--token-file", str(token),
            "--admin", f"fd:{fds['admin']}", "--metrics", f"fd:{fds['metrics']}",
        ]  # fmt: skip
        for name in hand_over:
            arguments += ["--listen-fd", str(fds[name])]
        return arguments, tuple(fds[name] for name in (*hand_over, "admin", "metrics"))

    async def await_ready(self) -> None:
        with open(self._reading, "rb") as file:
            line = await asyncio.wait_for(asyncio.to_thread(file.readline), 30)
        assert line, f"not ready: {self.log.read_text()}"
        self.info = json.loads(line)

    def workers(self) -> list[psutil.Process]:
        assert self.process is not None
        return [child for child in psutil.Process(self.process.pid).children() if child.is_running()]

    async def get(self, path: str, authority: str = "reviews:9080") -> tuple[int, str]:
        """Through the outbound listener, as the application's own request."""
        return await get(self.outbound, path, authority)

    async def admin(self, path: str) -> tuple[int, str]:
        return await get(int(self.info["admin"].rpartition(":")[2]), path, "localhost")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 15)

    async def close(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
        if self.lifeline is not None:
            os.close(self.lifeline)
        for sock in self.sockets.values():
            sock.close()


async def get(port: int, path: str, authority: str) -> tuple[int, str]:
    """(status, body) of one request on a connection of its own. Raises ConnectionError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n".encode())
        data = await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("closed without an answer")
    return int(head.split(b" ")[1]), body.decode()
