"""The mesh of a laptop: which children there are, in which order they start, and how they end."""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from mesh.clock import Clock
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope
from remora.client import Control
from remora.failure import Failure
from remora.state import State
from remora.up import logs, samples
from remora.up.applications import BOOKINFO, Application
from remora.up.back_ends import write_settings
from remora.up.child import Child, Hooks, Prepare
from remora.up.collector_settings import check_settings
from remora.up.components import PORTS, Components
from remora.up.departed import forget_departed
from remora.up.forks import ForkServer
from remora.up.grafana import push_at_start
from remora.up.ingress import Ingress
from remora.up.options import CONSOLE_PORT, Options
from remora.up.sidecar import environment
from remora.up.sockets import choose_ports, free_ports, is_free

START_S = 60.0
"""A mesh that is not ready by then has failed; on two cores it takes a few seconds."""
STOP_TRAFFIC_S = 2.6
"""For applications and sidecars to finish what is in flight; then they are killed."""
STOP_S = 4.4
"""For everything."""
PRELOADED = {
    "sidecars": ("sidecar.agent.agent", "remora.commands.components", "remora.otlp_types"),
    "samples": ("uvloop", "mesh.logs", "remora.samples.bookinfo.productpage", "remora.samples.bookinfo.reviews"),
}
"""What takes a sidecar and an application most of the time to start, by fork server. A server each: neither is to hold
the other's memory."""
LOOK_EVERY_S = 5.0
"""Between looks at logs that grow and workloads that are gone."""


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
        console_port = _console_port(options.console_port, rng)
        self._ingress = self._own(Ingress(options.ingress_port))
        self._applications = [self._own(Application(each)) for each in BOOKINFO] if options.samples else []
        ports = choose_ports(state.ports, PORTS, rng)
        settings = None if options.elasticsearch is None else write_settings(state, options.elasticsearch)
        if options.collector_config is not None:
            settings = check_settings(options.collector_config, state, ports, clock, say)
        self._components = Components(state, ports, console_port, self._ingress.url, lock_fd, settings)

    def _own(self, resource: T) -> T:
        self._closing.callback(resource.close)
        return resource

    def describe(self) -> dict[str, Any]:
        """The object of `up --json`."""
        return {
            "console": self._console_url,
            "ingress": self._ingress.url,
            "jaeger": f"http://{self._components.at('jaeger')}",
            "control": self._components.at("ads"),
            "state": str(self._state.directory),
            "workloads": {each.sample.name: each.sidecar.describe() for each in self._applications},
            "gateway": self._ingress.describe(),
        }

    async def start(self) -> None:
        """Bring everything up, as much at once as depends on nothing. Raises Failure with the reason if it fails."""
        try:
            async with asyncio.timeout(START_S):
                client = await self._start()
        except TimeoutError:
            late = ", ".join(name for name, child in self._children.items() if not child.first_ready.done())
            raise Failure(
                f"the mesh was not ready within {START_S:.0f} s ({late or 'the ingress'}): see {self._state.logs}"
            ) from None
        self._is_ready = True
        self._write_mesh_file()
        self._tasks.spawn(self._look_after(client), name="look after")
        if self._options.grafana is not None:
            # Not waited for: whoever starts a mesh wants the mesh.
            jaeger = f"http://{self._components.at('jaeger')}"
            push = asyncio.to_thread(push_at_start, self._options.grafana, jaeger, self._say)
            self._tasks.spawn(push, name="grafana")

    async def _start(self) -> Control:
        components = self._components
        control = self._child("control", components.control)
        console = self._child("console", components.console)
        query = self._child("query", components.query)
        # Of one sidecar and no application there is nothing to save.
        forks = {name: self._fork_server(name) for name in PRELOADED if self._applications}
        applications = [
            self._child(each.sample.name, each.prepare, forks.get("samples")) for each in self._applications
        ]
        await control.first_ready
        self._client = client = self._own(await asyncio.to_thread(Control, self._state))
        collect = self._child("collect", partial(components.collect, client))
        sidecars = [
            self._child(
                f"{each.workload.name}.sidecar",
                partial(each.prepare, self._state, client, components.telemetry),
                forks.get("sidecars"),
            )
            for each in (self._ingress.sidecar, *(each.sidecar for each in self._applications))
        ]
        # A sidecar that has been started is registered, and the rules need the services that registration makes.
        await asyncio.gather(*(each.first_started for each in sidecars))
        if self._options.samples:
            await asyncio.to_thread(samples.apply_once, self._state, client)
        await asyncio.gather(*(each.first_ready for each in (*sidecars, *applications, collect, console, query)))
        if self._options.samples:
            await self._ingress.until_reachable("/productpage")
        if self._options.has_load:
            await self._child("load", components.load).first_ready
        return client

    def _fork_server(self, name: str) -> ForkServer:
        return self._own(ForkServer(PRELOADED[name], log=self._state.logs / f"{name}.log", env=environment()))

    def _child(self, name: str, prepare: Prepare, forks: ForkServer | None = None) -> Child:
        hooks = Hooks(started=self._started, ready=self._ready, ended=self._ended)
        log = self._state.logs / f"{name}.log"
        child = Child(name, prepare, log=log, lifeline=self._lifeline, clock=self._clock, hooks=hooks, forks=forks)
        self._children[name] = child
        self._stage(name, "waiting")
        self._tasks.spawn(child.run(), name=name)
        return child

    def _started(self, child: Child) -> None:
        self._stage(child.name, "starting")
        if self._is_ready:
            self._rewrite_mesh_file()

    def _ready(self, child: Child, report: dict[str, Any]) -> None:
        self._stage(child.name, "ready")
        if child.name == "console":
            self._console_url = str(report.get("url", ""))
        if self._is_ready:
            self._rewrite_mesh_file()
            self._say(f"{child.name} is back" + (f": {self._console_url}" if child.name == "console" else ""))

    def _ended(self, child: Child, why: str) -> None:
        self._say(f"{child.name} {why}: starting it again (see {self._state.logs / child.name}.log)")

    def _rewrite_mesh_file(self) -> None:
        """Of a mesh that serves: a disk that is full is no reason to end it."""
        try:
            self._write_mesh_file()
        except OSError as error:
            self._say(f"cannot write {error.filename}: {error.strerror}; what it says is not true any more")

    def _write_mesh_file(self) -> None:
        pids = {name: child.pid for name, child in self._children.items() if child.pid is not None}
        telemetry = self._components.telemetry
        content = self.describe() | {
            "rest": f"https://{self._components.at('rest')}",
            "collector": {"forward": telemetry.forward, "otlp": telemetry.otlp},
            "pids": {"up": os.getpid()} | pids,
        }
        write_atomic(self._state.mesh, json.dumps(content, indent=2).encode(), mode=0o600)

    async def _look_after(self, control: Control) -> None:
        ours = {(each.sidecar.workload.namespace, each.sidecar.workload.name) for each in self._applications}
        while True:
            logs.bound(self._state.logs)
            with contextlib.suppress(Failure):  # the control plane is being restarted; the next look is soon
                for name in await asyncio.to_thread(forget_departed, control, ours):
                    self._say(f"{name} is gone without having said so: taken out of the mesh")
            await asyncio.sleep(LOOK_EVERY_S)

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


def _console_port(wanted: int | None, rng: random.Random) -> int:
    if wanted:
        if not is_free(wanted):
            raise Failure(f"--console-port {wanted}: the port is in use: choose another, or 0 for any")
        return wanted
    return CONSOLE_PORT if wanted is None and is_free(CONSOLE_PORT) else free_ports(1, rng)[0]
