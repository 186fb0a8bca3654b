"""What a kubelet does with one pod's containers, in the order in which it does it; here they are processes that share a
network namespace, as a pod's do.

After kuberuntime: init containers one after the other, those with restartPolicy Always until their startup probe
succeeds; then the others in order, each after the former's postStart hook has returned; probes from outside of the pod.
To end: all hooks at once, SIGTERM after each one's, native sidecars when the others have ended and in reverse order,
SIGKILL when the grace period is over, but not within two seconds of a SIGTERM.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.netns.namespaces import Namespace

PROBE_EVERY_S = 0.1
LEAST_GRACE_S = 2.0
"""`minimumGracePeriodInSeconds` of the kubelet."""

Place = tuple[int, str]
"""Port and path of an `httpGet`."""


@dataclass(frozen=True)
class Container:
    """Of a pod's specification, what matters here."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    uid: int = 0
    post_start: Sequence[str] = ()
    """A command in the container."""
    startup: Place | None = None
    pre_stop: Place | None = None


class Running:
    """A container that was started."""

    def __init__(self, spec: Container, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.spec = spec
        self.process = process
        self.log = log
        self.started_at = time.monotonic()
        self.ended_at: float | None = None
        self.killed = False

    async def wait(self) -> int:
        """Its exit status."""
        while self.process.poll() is None:
            await asyncio.sleep(0.005)
        if self.ended_at is None:
            self.ended_at = time.monotonic()
        return self.process.returncode

    def said(self) -> list[dict[str, Any]]:
        """The lines of JSON that it has written."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith('{"at"')]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.said() if each["event"] == name]

    def event_at(self, name: str) -> float:
        """When it first said so."""
        at: float = self.events(name)[0]["at"]
        return at


class PodRun:
    """One pod, from its first container to its last."""

    def __init__(self, pod: Namespace, outside: Namespace, directory: Path) -> None:
        self.pod = pod
        self._outside = outside
        self._directory = directory
        self.running: dict[str, Running] = {}
        self._native: list[str] = []
        self.ready_at: dict[str, float] = {}
        """When startup probes succeeded and postStart hooks returned."""

    async def start(
        self, init: Sequence[Container], containers: Sequence[Container], native: Sequence[Container] = ()
    ) -> None:
        """Raises AssertionError where a kubelet would go into back-off."""
        for each in init:
            status = await self._begin(each).wait()
            assert status == 0, f"init container {each.name} ended with {status}: {self.log_of(each.name)}"
        for each in native:
            self._native.append(each.name)
            running = self._begin(each)
            assert each.startup is not None
            port, path = each.startup
            while (await self.probe(port, path))[0] != 200:
                assert running.process.poll() is None, f"{each.name} ended: {self.log_of(each.name)}"
                await asyncio.sleep(PROBE_EVERY_S)
            self.ready_at[each.name] = time.monotonic()
        for each in containers:
            running = self._begin(each)
            if each.post_start:
                hook = self._spawn(each.post_start, each, f"{each.name}-poststart")
                status = await hook.wait()
                assert status == 0, f"postStart of {each.name}: {hook.log.read_text()}{self.log_of(each.name)}"
                assert running.process.poll() is None, f"{each.name} ended: {self.log_of(each.name)}"
                self.ready_at[each.name] = time.monotonic()

    def _begin(self, spec: Container) -> Running:
        running = self.running[spec.name] = self._spawn(spec.argv, spec, spec.name)
        return running

    def _spawn(self, argv: Sequence[str], spec: Container, name: str) -> Running:
        log = self._directory / f"{name}.log"
        with open(log, "ab") as file:
            process = self.pod.start(argv, uid=spec.uid, log=file, environment=dict(spec.environment))
        return Running(spec, process, log)

    async def probe(self, port: int, path: str, timeout_s: float = 1.0) -> tuple[int, str]:
        """As the kubelet asks, from outside of the pod; status 0 with the reason for no answer."""
        try:
            async with asyncio.timeout(timeout_s):
                return await get(self._outside, self.pod.ipv4, port, path, "kube-probe/1.33")
        except (OSError, TimeoutError) as error:
            return 0, type(error).__name__

    async def stop(self, grace_s: float) -> None:
        """Returns when every container has ended."""
        began = time.monotonic()
        others = [name for name in self.running if name not in self._native]
        gone = {name: asyncio.Event() for name in self.running}

        def turn(name: str) -> list[asyncio.Event]:
            """Whose ends it waits for: a sidecar's, all that were started after it."""
            if name not in self._native:
                return []
            later = self._native[self._native.index(name) + 1 :]
            return [gone[each] for each in (*others, *later)]

        async with asyncio.TaskGroup() as group:
            for name, running in self.running.items():
                if running.process.poll() is None:
                    group.create_task(self._end(running, grace_s, began, turn(name), gone[name].set))
                else:
                    await running.wait()
                    gone[name].set()

    async def _end(
        self, running: Running, grace_s: float, began: float, after: Sequence[asyncio.Event], gone: Callable[[], None]
    ) -> None:
        deadline = began + grace_s
        if running.spec.pre_stop is not None:
            await self.probe(*running.spec.pre_stop, timeout_s=grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                for each in after:
                    await each.wait()
        deadline = max(deadline, time.monotonic() + LEAST_GRACE_S)
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await running.wait()
        except TimeoutError:
            running.killed = True
            running.process.kill()
            await running.wait()
        gone()

    def log_of(self, name: str) -> str:
        """The end of what it said, for a failure's message."""
        return (self._directory / f"{name}.log").read_text()[-4000:]

    def close(self) -> None:
        """Whatever still runs is killed."""
        for running in self.running.values():
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait()


async def get(
    there: Namespace, host: str, port: int, path: str, agent: str = "test", *, uid: int = 0
) -> tuple[int, str]:
    """(status, body) of one request from that namespace, on a connection of its own. Raises OSError."""
    status, _, body = await exchange(there, host, port, path, agent, uid=uid)
    return status, body


async def exchange(
    there: Namespace, host: str, port: int, path: str, agent: str = "test", *, uid: int = 0
) -> tuple[int, dict[str, str], str]:
    """The same with the answer's fields. The request does not ask that the connection be closed."""
    client = there.new_socket(socket.AF_INET, uid=uid, gid=uid)
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, (host, port))
        reader, writer = await asyncio.open_connection(sock=client)
    except BaseException:
        client.close()
        raise
    try:
        lines = [f"GET {path} HTTP/1.1", f"host: {host}", f"user-agent: {agent}", "", ""]
        writer.write("\r\n".join(lines).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split(" ")[1]), fields, body.decode()
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("closed without a whole answer") from error
    finally:
        writer.close()
