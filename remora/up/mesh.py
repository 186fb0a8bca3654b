"""The mesh of a laptop: which children there are, in which order they start, and how they end."""

import asyncio
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from mesh.clock import Clock
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope
from remora.client import Control
from remora.failure import Failure
from remora.state import State
from remora.up import samples
from remora.up.applications import BOOKINFO, Application
from remora.up.child import Child, Command, Hooks, Prepare
from remora.up.options import CONSOLE_PORT, INGRESS_PORT, TRACE_SAMPLING_PERCENT, Options
from remora.up.sidecar import PYTHON, Sidecar, Telemetry, Workload, environment, write_token
from remora.up.sockets import LOOPBACK, address, free_ports, is_free, listening

START_S = 60.0
"""A mesh that is not ready by then has failed; on two cores it takes a few seconds."""
STOP_TRAFFIC_S = 2.6
"""For applications and sidecars to finish what is in flight; then they are killed."""
STOP_S = 4.4
"""For everything."""
MAX_LOG_BYTES = 8 * 1024 * 1024
"""Of one child; then it goes on in a new file, and the one before the last is dropped."""

GATEWAY = "ingressgateway"
SYSTEM_NAMESPACE = "remora-system"


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class Mesh:
    """Owns the children, their ports and the files that tell others of them."""

    def __init__(
        self,
        options: Options,
        state: State,
        *,
        clock: Clock,
        rng: random.Random,
        lock_fd: int,
        say: Callable[[str], None],
        stage: Callable[[str, str], None],
    ) -> None:
        """`say` gets lines for people, `stage(child, what)` how far each is. Raises Failure if a port is taken."""
        self._options = options
        self._state = state
        self._clock = clock
        self._lock_fd = lock_fd
        self._say = say
        self._stage = stage
        self._children: dict[str, Child] = {}
        self._tasks = TaskScope()
        self._closing = contextlib.ExitStack()
        self._client: Control | None = None
        self._console_url = ""
        self._is_ready = False
        lifeline_read, lifeline_write = os.pipe()
        self._lifeline = lifeline_read
        self._closing.callback(os.close, lifeline_write)
        self._closing.callback(os.close, lifeline_read)
        self._console_port = _wanted_port("console", options.console_port, CONSOLE_PORT, rng)
        self._ads, self._csr, self._rest, self._forward, self._otlp_grpc, self._otlp_http = free_ports(6, rng)
        self._ingress = self._ingress_socket()
        self._gateway = self._own(
            Sidecar(
                Workload(
                    name=GATEWAY,
                    namespace=SYSTEM_NAMESPACE,
                    service=None,
                    version="latest",
                    service_account=GATEWAY,
                    gateway_ports={"80": self._ingress, "8080": self._ingress},
                    labels={"app": GATEWAY, "istio": GATEWAY},
                )
            )
        )
        self._applications = [self._own(Application(each)) for each in BOOKINFO] if options.samples else []

    def _own(self, resource: T) -> T:
        self._closing.callback(resource.close)
        return resource

    def _ingress_socket(self) -> socket.socket:
        wanted = self._options.ingress_port
        try:
            sock = listening(INGRESS_PORT if wanted is None else wanted)
        except OSError as error:
            if wanted is not None:
                raise Failure(f"--ingress-port {wanted}: {error.strerror}: choose another, or 0 for any") from error
            sock = listening()
        self._closing.callback(sock.close)
        return sock

    @property
    def telemetry(self) -> Telemetry:
        """Where sidecars send records."""
        return Telemetry(forward=f"{LOOPBACK}:{self._forward}", otlp=f"{LOOPBACK}:{self._otlp_grpc}")

    @property
    def ingress_url(self) -> str:
        """The way in."""
        return f"http://{address(self._ingress)}"

    def describe(self) -> dict[str, Any]:
        """The object of `up --json`."""
        return {
            "console": self._console_url,
            "ingress": self.ingress_url,
            "control": f"{LOOPBACK}:{self._ads}",
            "state": str(self._state.directory),
            "workloads": {each.sample.name: each.sidecar.describe() for each in self._applications},
            "gateway": {"workload": GATEWAY, "namespace": SYSTEM_NAMESPACE} | self._gateway.describe(),
        }

    async def start(self) -> None:
        """Bring everything up, as much at once as depends on nothing. Raises Failure with the reason if it fails."""
        try:
            async with asyncio.timeout(START_S):
                await self._start()
        except TimeoutError:
            late = ", ".join(name for name, child in self._children.items() if not child.first_ready.done())
            raise Failure(
                f"the mesh was not ready within {START_S:.0f} s ({late or 'the ingress'}): see {self._state.logs}"
            ) from None
        self._is_ready = True
        self._write_mesh_file()
        self._tasks.spawn(self._bound_logs(), name="logs")

    async def _start(self) -> None:
        control = self._child("control", self._control_command)
        console = self._child("console", self._console_command)
        applications = [self._child(each.sample.name, each.prepare) for each in self._applications]
        await control.first_ready
        self._client = client = await asyncio.to_thread(Control, self._state)
        collect = self._child("collect", lambda: self._collect_command(client))
        sidecars = [
            self._child(f"{each.workload.name}.sidecar", partial(each.prepare, self._state, client, self.telemetry))
            for each in (self._gateway, *(each.sidecar for each in self._applications))
        ]
        # A sidecar that has been started is registered, and the rules need the services that registration makes.
        await asyncio.gather(*(each.first_started for each in sidecars))
        if self._options.samples:
            await asyncio.to_thread(samples.apply_once, self._state, client)
        await asyncio.gather(*(each.first_ready for each in (*sidecars, *applications, collect, console)))
        if self._options.samples:
            await self._until_reachable("/productpage")
        if self._options.has_load:
            await self._child("load", self._load_command).first_ready

    def _child(self, name: str, prepare: Prepare) -> Child:
        hooks = Hooks(started=self._started, ready=self._ready, ended=self._ended)
        log = self._state.logs / f"{name}.log"
        child = Child(name, prepare, log=log, lifeline=self._lifeline, clock=self._clock, hooks=hooks)
        self._children[name] = child
        self._stage(name, "waiting")
        self._tasks.spawn(child.run(), name=name)
        return child

    def _started(self, child: Child) -> None:
        self._stage(child.name, "starting")
        if self._is_ready:
            self._write_mesh_file()

    def _ready(self, child: Child, report: dict[str, Any]) -> None:
        self._stage(child.name, "ready")
        if child.name == "console":
            self._console_url = str(report.get("url", ""))
        if self._is_ready:
            self._write_mesh_file()
            self._say(f"{child.name} is back" + (f": {self._console_url}" if child.name == "console" else ""))

    def _ended(self, child: Child, why: str) -> None:
        self._say(f"{child.name} {why}: starting it again (see {self._state.logs / child.name}.log)")

    async def _control_command(self) -> Command:
        argv = [*PYTHON, "remora", "control", "--state", str(self._state.directory), "--host", LOOPBACK]
        argv += ["--ads-port", str(self._ads), "--csr-port", str(self._csr), "--rest-port", str(self._rest)]
        argv += ["--trace-sampling", str(TRACE_SAMPLING_PERCENT), "--laptop"]
        return Command(argv, environment(), (self._lock_fd,))

    async def _console_command(self) -> Command:
        argv = [*PYTHON, "remora", "console", "--state", str(self._state.directory)]
        return Command([*argv, "--listen", f"{LOOPBACK}:{self._console_port}"], environment())

    async def _collect_command(self, control: Control) -> Command:
        registered = await asyncio.to_thread(control.token, SYSTEM_NAMESPACE, "remora-collector")
        token_file = write_token(self._state, "collector", registered["token"])
        argv = [*PYTHON, "remora", "collect", "--state", str(self._state.directory)]
        argv += ["--forward", f"{LOOPBACK}:{self._forward}"]
        argv += ["--otlp-grpc", f"{LOOPBACK}:{self._otlp_grpc}", "--otlp-http", f"{LOOPBACK}:{self._otlp_http}"]
        argv += [
            "--control",
            registered["csr"],
            "--control-ads",
            registered["ads"],
            "--root",
            str(self._state.root),
            "--token-file",
            token_file,
        ]
        return Command(argv, environment(), (self._lock_fd,))

    async def _load_command(self) -> Command:
        return Command([*PYTHON, "remora.up.load", "--url", self.ingress_url], environment())

    async def _until_reachable(self, path: str) -> None:
        host, port = self._ingress.getsockname()
        while await asyncio.to_thread(_status_of, host, port, path) != http.client.OK:  # noqa: ASYNC110 - it is remote
            await asyncio.sleep(0.05)

    def _write_mesh_file(self) -> None:
        pids = {name: child.pid for name, child in self._children.items() if child.pid is not None}
        content = self.describe() | {
            "rest": f"https://{LOOPBACK}:{self._rest}",
            "collector": {"forward": self.telemetry.forward, "otlp": self.telemetry.otlp},
            "pids": {"up": os.getpid()} | pids,
        }
        write_atomic(self._state.mesh, json.dumps(content, indent=2).encode(), mode=0o600)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(5.0)
            for name in self._children:
                path = self._state.logs / f"{name}.log"
                if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
                    # The child goes on writing to the same file: it appends, so it begins anew at its start.
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)

    async def wait_failed(self) -> None:
        """Never returns; raises what broke the supervision itself."""
        await self._tasks.wait_failed()

    async def stop(self) -> None:
        """End every child within STOP_S, traffic first so that its last records are still collected."""
        self._is_ready = False
        began = self._clock.monotonic()
        self._state.mesh.unlink(missing_ok=True)
        last = [child for name, child in self._children.items() if name in ("control", "collect")]
        first = [child for child in self._children.values() if child not in last]
        await self._stop(first, began + STOP_TRAFFIC_S)
        if self._client is not None:
            self._client.close()  # or the control plane would wait for its end of the connection
        await self._stop(last, began + STOP_S)
        await self._tasks.close()
        for token in self._state.tokens.glob("*.token"):
            token.unlink()
        self._closing.close()

    async def _stop(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.begin_stop()
        await asyncio.gather(*(child.wait_stopped(deadline) for child in children))


def _wanted_port(what: str, wanted: int | None, usual: int, rng: random.Random) -> int:
    if wanted:
        if not is_free(wanted):
            raise Failure(f"--{what}-port {wanted}: the port is in use: choose another, or 0 for any")
        return wanted
    return usual if wanted is None and is_free(usual) else free_ports(1, rng)[0]


def _status_of(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request("GET", path, headers={"user-agent": "remora-up/1"})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
