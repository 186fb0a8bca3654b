"""Worker processes as an agent runs them, configured by a test: one sidecar, or two with mutual TLS between them."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from functools import partial

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from mesh.records import Workload
from sidecar.agent.backoff import Backoff
from sidecar.agent.sockets import Sockets
from sidecar.agent.supervisor import Supervisor
from sidecar.agent.worker_process import COMMAND, start_worker
from sidecar.config.cluster import Cluster, Thresholds, UpstreamTls
from sidecar.config.endpoint import Address, Endpoint
from sidecar.config.listener import Direction, DownstreamTls, FilterChain, Http, Listener, TransportMatch
from sidecar.config.messages import AccessLog, Metrics, Spans, TapCounts, Tapped
from sidecar.config.route import RetryOn, RetryPolicy
from sidecar.config.snapshot import Node, Snapshot
from tests.sidecar.net.authority import Authority, Leaf
from tests.sidecar.worker.proxy import everything, forward_to

WEB = "spiffe://cluster.local/ns/default/sa/web"
APP = "spiffe://cluster.local/ns/default/sa/app"
THRESHOLDS = Thresholds()
RETRIES = RetryPolicy(attempts=2, on=frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM}))
"""What the control plane gives a route by default."""


class Counted:
    """The workers' counters, summed."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, float] = {}

    def measured(self, worker: int, metrics: Metrics) -> None:
        for growth in metrics.counters:
            self.counters[growth.name] = self.counters.get(growth.name, 0) + growth.value
        self.gauges.update({reading.name: reading.value for reading in metrics.gauges})

    def access_log(self, records: AccessLog) -> None: ...
    def spans(self, spans: Spans) -> None: ...
    def tapped(self, tapped: Tapped) -> None: ...
    def tap_counts(self, worker: int, counts: TapCounts) -> None: ...
    def worker_gone(self, worker: int) -> None: ...


class SidecarWorkers:
    """An agent's supervisor with real workers."""

    def __init__(self, *flags: str) -> None:
        self.counted = Counted()
        self.sockets = Sockets()
        rng = random.Random(7)
        self.supervisor = Supervisor(
            1,
            self.sockets,
            self.counted,
            partial(start_worker, (*COMMAND, "--log-level", "warning", *flags)),
            SystemClock(),
            lambda: Backoff(rng, base_s=0.02, max_s=0.1),
        )

    @property
    def pid(self) -> int:
        return self.supervisor.pids[-1]

    @property
    def resident_kib(self) -> int:
        with open(f"/proc/{self.pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    @property
    def cpu_s(self) -> float:
        with open(f"/proc/{self.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bind(self) -> Address:
        """A socket on any port."""
        return self.sockets.pin(Address("127.0.0.1", 0))

    async def serve(self, snapshot: Snapshot) -> None:
        refused = await self.supervisor.apply(snapshot)
        assert refused is None, refused


@contextlib.asynccontextmanager
async def sidecar_workers(*flags: str) -> AsyncIterator[SidecarWorkers]:
    """Running, without a snapshot."""
    workers = SidecarWorkers(*flags)
    async with TaskScope() as scope:
        scope.spawn(workers.supervisor.run(), name="supervisor")
        try:
            yield workers
        finally:
            await workers.supervisor.drain(0.0)
    workers.sockets.close()


def receiving(
    address: Address,
    authority: Authority,
    *apps: Address,
    tls: bool = True,
    version: str = "1",
    retry: RetryPolicy = RETRIES,
    thresholds: Thresholds = THRESHOLDS,
    **http: object,
) -> Snapshot:
    """The sidecar beside the application: mutual TLS in (or plaintext), HTTP/1.1 out."""
    manager = Http(routes=everything(forward_to("app", retry=retry)), trust_forwarded=True, **http)  # type: ignore[arg-type]
    secured = DownstreamTls("default", "ROOTCA", require_client_certificate=True, trust_domains=("cluster.local",))
    chain = FilterChain(TransportMatch.TLS, manager, secured) if tls else FilterChain(TransportMatch.ANY, manager)
    return Snapshot(
        version,
        Node(id="sidecar~app", workload=Workload(name="app", principal=APP)),
        listeners=(Listener("virtualInbound", address, Direction.INBOUND, (chain,), detect_tls=tls),),
        clusters=(Cluster("app", endpoints=tuple(Endpoint(each) for each in apps), thresholds=thresholds),),
        certificates=(authority.issue(Leaf(uris=(APP,))),),
        trust_anchors=(authority.anchors(),),
    )


def sending(
    address: Address, authority: Authority, inbound: Address, *, version: str = "1", **http: object
) -> Snapshot:
    """The sidecar beside the client: plaintext in, mutual TLS out."""
    manager = Http(routes=everything(forward_to("there", retry=RETRIES)), trust_forwarded=True, **http)  # type: ignore[arg-type]
    tls = UpstreamTls("app.default", "default", "ROOTCA", (APP,))
    return Snapshot(
        version,
        Node(id="sidecar~web", workload=Workload(name="web", principal=WEB)),
        listeners=(Listener("out", address, Direction.OUTBOUND, (FilterChain(TransportMatch.ANY, manager),)),),
        clusters=(Cluster("there", endpoints=(Endpoint(inbound, tls=True),), tls=tls),),
        certificates=(authority.issue(Leaf(uris=(WEB,))),),
        trust_anchors=(authority.anchors(),),
    )


async def eventually_true(condition: object, what: str, within: float = 10.0) -> None:
    """Poll until `condition()` is true."""
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.02)
