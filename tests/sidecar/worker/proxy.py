"""A worker inside the test's own loop, on real sockets; what it sends its agent is kept."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import Applied, Refused, Span, Spans, ToAgent
from sidecar.config.route import (
    Forward,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from sidecar.config.snapshot import Node, Snapshot
from sidecar.telemetry.recorder import Telemetry
from sidecar.worker import Worker
from tests.sidecar.worker.records import Logged, logged


def listening_socket() -> tuple[socket.socket, Address]:
    """A socket listening on any port of the loopback address."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock, Address("127.0.0.1", sock.getsockname()[1])


def forward_to(*clusters: str, **options: Any) -> Route:
    """A route for everything, with equal weights."""
    weighted = tuple(WeightedCluster(name, 1) for name in clusters)
    return Route("default", RouteMatch(), Forward(weighted, **options))


def everything(*routes: Route) -> RouteConfiguration:
    """A table with one virtual host for every name."""
    return RouteConfiguration("local", (VirtualHost("all", ("*",), tuple(routes)),))


class Proxy:
    """A worker with one or more listeners, changed by `apply`."""

    def __init__(self, worker: Worker, messages: list[ToAgent]) -> None:
        self.worker = worker
        self.messages = messages
        self.agent_is_behind = False
        self.snapshot = Snapshot("1", Node(id="sidecar~test"))
        self._sequence = 0

    @property
    def records(self) -> list[Logged]:
        """Requests that are over, as the access log tells of them."""
        self.worker.flush()
        return logged(self.messages)

    @property
    def spans(self) -> list[Span]:
        """Of sampled requests that are over."""
        self.worker.flush()
        return [span for message in self.messages if isinstance(message, Spans) for span in message.spans]

    def bind(self) -> Address:
        """Hand the worker a new listening socket."""
        sock, address = listening_socket()
        self.worker.listen((address,), [sock.detach()])
        return address

    async def apply(self, **changes: Any) -> Applied | Refused:
        """Apply the present snapshot with these parts replaced; it becomes the present one if it serves."""
        snapshot = replace(self.snapshot, **changes)
        self._sequence += 1
        await self.worker.apply(self._sequence, snapshot)
        answer = self.messages[-1]
        assert isinstance(answer, Applied | Refused)
        if isinstance(answer, Applied):
            self.snapshot = snapshot
        return answer


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    """A worker without configuration."""
    messages: list[ToAgent] = []
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    telemetry = Telemetry(Node(), "epoch", clock)
    async with TaskScope() as scope:
        worker = Worker(loop, scope, clock, messages.append, telemetry, full=lambda: proxy.agent_is_behind)
        proxy = Proxy(worker, messages)
        try:
            yield proxy
        finally:
            worker.close()
            await asyncio.sleep(0)


def cluster(name: str, *addresses: Address, **options: Any) -> Cluster:
    """A static cluster."""
    return Cluster(name, endpoints=tuple(Endpoint(address) for address in addresses), **options)


def plain_listener(
    name: str, address: Address, routes: RouteConfiguration, *, direction: Direction = Direction.INBOUND, **http: Any
) -> Listener:
    """A listener for plaintext."""
    http.setdefault("trust_forwarded", True)
    chain = FilterChain(TransportMatch.ANY, Http(routes=routes, **http))
    return Listener(name, address, direction, (chain,))
