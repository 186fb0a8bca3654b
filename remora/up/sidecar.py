"""A sidecar or gateway on this machine: its sockets, its registration with the control plane, its command line."""

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.files import write_atomic
from remora.client import Control
from remora.state import State
from remora.up.child import Command
from remora.up.processes import PYTHON
from remora.up.sockets import address, listening

DRAIN_S = 1.5
"""Requests in flight when the mesh ends may take this much longer; the whole mesh has 5 s to be gone."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a sidecar stands beside. A gateway has `gateway_ports` and neither application nor service."""

    name: str
    namespace: str
    service: str | None
    version: str
    service_account: str
    service_port: int = 0
    app: str | None = None
    """`host:port` where the application listens."""
    protocol: str = "http"
    """What it speaks: the name of its port."""
    tcp_upstreams: tuple["TcpUpstream", ...] = ()
    gateway_ports: Mapping[str, socket.socket] = field(default_factory=dict)
    """Sockets by the port numbers that Gateways call them."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_gateway(self) -> bool:
        """True for a way into the mesh."""
        return bool(self.gateway_ports)


@dataclass(frozen=True, slots=True)
class TcpUpstream:
    """A service's port that the application finds on a port of this machine, without knowing of any proxy."""

    service: str
    port: int
    local_port: int

    @property
    def socket_name(self) -> str:
        return f"tcp:{self.local_port}"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where the collector takes records."""

    forward: str
    otlp: str


class Sidecar:
    """Holds one proxy's sockets for as long as the workload exists, whatever becomes of its processes."""

    def __init__(self, workload: Workload) -> None:
        """Raises OSError when no port can be had."""
        self.workload = workload
        self._sockets: dict[str, socket.socket] = {}
        try:
            if not workload.is_gateway:
                self._sockets["inbound"] = listening()
                self._sockets["outbound"] = listening()
            for each in workload.tcp_upstreams:
                self._sockets[each.socket_name] = listening(each.local_port)
            self._sockets["admin"] = listening()
            self._sockets["metrics"] = listening()
        except OSError:
            self.close()
            raise

    @property
    def outbound(self) -> str:
        """`host:port` that applications use as their HTTP proxy."""
        return address(self._sockets["outbound"])

    def describe(self) -> dict[str, str]:
        """Its entry in the object of `up --json`."""
        described = {name: address(self._sockets[name]) for name in ("inbound", "outbound") if name in self._sockets}
        return described | {
            "admin": f"http://{address(self._sockets['admin'])}",
            "metrics": f"http://{address(self._sockets['metrics'])}/metrics",
        }

    def close(self) -> None:
        """Give the ports back."""
        for sock in self._sockets.values():
            sock.close()

    def registration(self) -> dict[str, Any]:
        """The body of POST /v1/workloads."""
        workload = self.workload
        ports = []
        if workload.app is not None:
            ports.append({"name": workload.protocol, "service_port": workload.service_port, "app": workload.app})
        return {
            "name": workload.name,
            "namespace": workload.namespace,
            "kind": "gateway" if workload.is_gateway else "sidecar",
            "service": workload.service,
            "version": workload.version,
            "service_account": workload.service_account,
            "labels": dict(workload.labels),
            "ports": ports,
            "inbound": None if workload.is_gateway else address(self._sockets["inbound"]),
            "outbound": None if workload.is_gateway else address(self._sockets["outbound"]),
            "tcp_outbound": [
                {"service": each.service, "port": each.port, "listen": address(self._sockets[each.socket_name])}
                for each in workload.tcp_upstreams
            ],
            "gateway_ports": {number: address(sock) for number, sock in workload.gateway_ports.items()},
            "admin": f"http://{address(self._sockets['admin'])}",
            "metrics": address(self._sockets["metrics"]),
        }

    async def prepare(self, state: State, control: Control, telemetry: Telemetry | None) -> Command:
        """Register, with a token for this start alone, and give the command line of `remora proxy`.

        A proxy makes a new key whenever it starts, and a token is good for one key: so every start has its own.
        """
        registered = await asyncio.to_thread(control.register, self.registration())
        token_file = write_token(state, f"{self.workload.namespace}.{self.workload.name}", registered["token"])
        listeners = [sock for name, sock in self._sockets.items() if name not in ("admin", "metrics")]
        listeners += {sock.fileno(): sock for sock in self.workload.gateway_ports.values()}.values()
        admin, metrics = self._sockets["admin"].fileno(), self._sockets["metrics"].fileno()
        argv = [*PYTHON, "remora", "proxy"]
        argv += ["--node-id", registered["node_id"], "--identity", registered["identity"]]
        argv += ["--workload", self.workload.name, "--namespace", self.workload.namespace]
        argv += ["--kind", "gateway" if self.workload.is_gateway else "sidecar", "--version", self.workload.version]
        if self.workload.service is not None:
            argv += ["--service", self.workload.service]
        if self.workload.labels:
            argv += ["--labels", ",".join(f"{key}={value}" for key, value in sorted(self.workload.labels.items()))]
        argv += ["--ads", registered["ads"], "--csr", registered["csr"]]
        argv += ["--root", str(state.root), "--token-file", token_file, "--addons", str(state.addons)]
        argv += ["--admin", f"fd:{admin}", "--metrics", f"fd:{metrics}", "--drain-deadline", f"{DRAIN_S:g}"]
        for each in listeners:
            argv += ["--listen-fd", str(each.fileno())]
        if telemetry is not None:
            argv += ["--collector-forward", telemetry.forward, "--collector-otlp", telemetry.otlp]
        return Command(argv, environment(), (*(each.fileno() for each in listeners), admin, metrics))


def write_token(state: State, name: str, token: str) -> str:
    """Put a token where its component finds it; returns the file's path."""
    path = state.tokens / f"{name}.token"
    write_atomic(path, token.encode(), mode=0o600)
    return str(path)


def remove_token(state: State, name: str) -> None:
    """The component has ended: its token is of no use to anyone."""
    (state.tokens / f"{name}.token").unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """Our own environment without proxies: components speak to each other directly."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
