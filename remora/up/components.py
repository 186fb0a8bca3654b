"""Command lines of the mesh's own components: control plane, collector, query service, console, load."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remora.client import Control
from remora.state import State
from remora.up.child import Command
from remora.up.options import TRACE_SAMPLING_PERCENT
from remora.up.processes import PYTHON
from remora.up.sidecar import Telemetry, environment, write_token
from remora.up.sockets import LOOPBACK

SYSTEM_NAMESPACE = "remora-system"

PORTS = ("ads", "csr", "rest", "forward", "otlp-grpc", "otlp-http", "jaeger")
"""Bound by control plane, collector and query service, the same ones in every life of a state directory as long as they
are free: a `remora run` that outlives this mesh finds the next one there."""


@dataclass(frozen=True, slots=True)
class Components:
    """What their command lines are made of."""

    state: State
    ports: Mapping[str, int]
    """By PORTS."""
    console_port: int
    ingress_url: str
    lock_fd: int
    """Inherited by those that write to the state directory: it stays locked until the last of them is gone."""
    collect_settings: Path | None = None
    """The collector's; None: everything into the embedded store."""

    def at(self, name: str) -> str:
        """`host:port` of one of PORTS."""
        return f"{LOOPBACK}:{self.ports[name]}"

    @property
    def telemetry(self) -> Telemetry:
        """Where sidecars send records."""
        return Telemetry(forward=self.at("forward"), otlp=self.at("otlp-grpc"))

    async def control(self) -> Command:
        """`remora control`."""
        argv = [*PYTHON, "remora", "control", "--state", str(self.state.directory), "--host", LOOPBACK]
        for name in ("ads", "csr", "rest"):
            argv += [f"--{name}-port", str(self.ports[name])]
        argv += ["--trace-sampling", str(TRACE_SAMPLING_PERCENT), "--laptop"]
        return Command(argv, environment(), (self.lock_fd,))

    async def collect(self, control: Control) -> Command:
        """`remora collect`, with a token for this start alone."""
        registered = await asyncio.to_thread(control.token, SYSTEM_NAMESPACE, "remora-collector")
        token_file = write_token(self.state, "collector", registered["token"])
        argv = [*PYTHON, "remora", "collect", "--state", str(self.state.directory)]
        for name in ("forward", "otlp-grpc", "otlp-http"):
            argv += [f"--{name}", self.at(name)]
        argv += ["--control", registered["csr"], "--control-ads", registered["ads"]]
        argv += ["--root", str(self.state.root), "--token-file", token_file, "--node-metrics"]
        if self.collect_settings is not None:
            argv += ["--config", str(self.collect_settings)]
        return Command(argv, environment(), (self.lock_fd,))

    async def query(self) -> Command:
        """`remora query`."""
        argv = [*PYTHON, "remora", "query", "--state", str(self.state.directory), "--listen", self.at("jaeger")]
        return Command(argv, environment())

    async def console(self) -> Command:
        """`remora console`."""
        listen = f"{LOOPBACK}:{self.console_port}"
        argv = [*PYTHON, "remora", "console", "--state", str(self.state.directory), "--listen", listen]
        return Command(argv, environment())

    async def load(self) -> Command:
        """The visitors."""
        return Command([*PYTHON, "remora.up.load", "--url", self.ingress_url], environment())
