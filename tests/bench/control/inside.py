"""A control plane in this process, and proxies without sockets: what a plan costs, and when a change is on the wire."""

import asyncio
import gc
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from control.api.world import World
from control.ir.settings import MeshSettings
from control.xds.metrics import DiscoveryMetrics
from control.xds.planner import Planner
from control.xds.publisher import Publisher
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.bench.control.figures import Row, milliseconds
from tests.bench.control.world import pod, resources_of, world
from tests.control.xds.subscriber import EndpointNames, Subscriber

_RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: service-0, namespace: team-0}}
spec: {{hosts: [service-0], http: [{{timeout: {seconds}s, route: [{{destination: {{host: service-0}}}}]}}]}}
"""
_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: added-{number}, namespace: team-0}}
spec: {{clusterIP: 10.1.0.{number}, selector: {{app: service-3}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
ROOT_PEM = "-----BEGIN CERTIFICATE-----\n" + "A" * 800 + "\n-----END CERTIFICATE-----\n"


def resident_mib() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def peak_mib() -> float:
    """The most that ever was."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(slots=True)
class Costs:
    """Of one kind of change."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from the change to the bytes of its last answer, for each stream that was sent something."""
    sizes: list[int] = field(default_factory=list)
    """Bytes, for each of them."""
    cpu_s: float = 0.0
    changes: int = 0

    def rows(self, what: str) -> list[Row]:
        count = max(1, self.changes)
        return [
            Row(f"{what}: from the World to the bytes on a stream, median / 99th", milliseconds(self.latencies)),
            Row(f"{what}: bytes pushed, a proxy", f"{sum(self.sizes) / max(1, len(self.sizes)):,.0f}"),
            Row(f"{what}: CPU, all proxies together", f"{self.cpu_s / count * 1000:,.0f} ms"),
        ]


class Inside:
    """A publisher and its proxies."""

    def __init__(self, mesh: World) -> None:
        self.clock = SystemClock()
        self.world = mesh
        self.metrics = DiscoveryMetrics(CollectorRegistry())
        planner = Planner(lambda: MeshSettings(root_pem=ROOT_PEM))
        self.publisher = Publisher(planner, self.clock, self.metrics)
        self.subscribers: list[Subscriber] = []
        self._endpoints = EndpointNames()
        self._sent_at: dict[Subscriber, float] = {}

    def connect(self, count: int, scope: TaskScope) -> None:
        """That many proxies, of all services."""
        workloads = list(self.world.workloads.values())
        for workload in workloads[:: max(1, len(workloads) // count)][:count]:
            subscriber = Subscriber(self.publisher, workload, self._endpoints, look=False)
            subscriber.connect(self.clock.monotonic())
            self.subscribers.append(subscriber)
            scope.spawn(self._follow(subscriber), name="subscriber")

    def first_push(self, index: int) -> tuple[float, int]:
        """Seconds until a new proxy has everything, and its bytes."""
        workload = list(self.world.workloads.values())[index]
        subscriber = Subscriber(self.publisher, workload, self._endpoints, look=False)
        began = time.perf_counter()
        subscriber.connect(self.clock.monotonic())
        took_s = time.perf_counter() - began
        assert subscriber.stream.subscription.synced
        self.publisher.disconnect(subscriber.stream)
        return took_s, sum(each.size for each in subscriber.taken)

    def leave(self) -> None:
        """All of them."""
        for each in self.subscribers:
            self.publisher.disconnect(each.stream)
        self.subscribers.clear()

    async def _follow(self, subscriber: Subscriber) -> None:
        """As the server does it for a connection."""
        while True:
            await subscriber.stream.wake.wait()
            subscriber.stream.wake.clear()
            if subscriber.take(self.clock.monotonic()):
                self._sent_at[subscriber] = time.monotonic()

    async def change(self, costs: Costs, make: Callable[[World], World]) -> None:
        """One change, until everybody has taken it."""
        for each in self.subscribers:
            each.taken.clear()
        self._sent_at.clear()
        cpu, began = time.process_time(), time.monotonic()
        self.world = make(self.world)
        self.publisher.submit(self.world, "bench")
        await self.published()
        costs.cpu_s += time.process_time() - cpu
        costs.changes += 1
        costs.latencies += [at - began for at in self._sent_at.values()]
        costs.sizes += [sum(each.size for each in one.taken) for one in self.subscribers if one.taken]

    def sent_at(self) -> list[float]:
        """When each proxy was sent its last answer, by the monotonic clock; then it is forgotten."""
        found = list(self._sent_at.values())
        self._sent_at.clear()
        return found

    async def published(self) -> None:
        """Until every proxy runs the newest version."""
        while any(each.stream.acked_version != self.publisher.version for each in self.subscribers):
            await asyncio.sleep(0.005)


@asynccontextmanager
async def inside(mesh: World, streams: int, rows: list[Row]) -> AsyncIterator[Inside]:
    """Planned, with proxies connected; what that took is in `rows`."""
    made = Inside(mesh)
    before_mib, cpu, began = resident_mib(), time.process_time(), time.perf_counter()
    await made.publisher.start(mesh)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    assert not made.publisher.plan.problems, made.publisher.plan.problems[:3]
    gc.collect()
    gc.freeze()  # as control/app does
    rows += [
        Row("first plan, every proxy", f"{wall_s:.1f} s ({cpu_s:.1f} s CPU)"),
        Row("memory before it / after it", f"{before_mib:.0f} / {resident_mib():.0f} MiB"),
    ]
    async with TaskScope() as scope:
        scope.spawn(made.publisher.run(), name="publisher")
        cold_s, size = made.first_push(0)
        warm_s, _ = made.first_push(1)
        rows += [
            Row(
                "first configuration of a proxy, the first of its namespace / another",
                f"{cold_s * 1000:.1f} / {warm_s * 1000:.1f} ms",
            ),
            Row("its bytes", f"{size:,}"),
        ]
        made.connect(streams, scope)
        yield made


async def changes(made: Inside, count: int, rows: list[Row]) -> None:
    """Pods that are replaced, a rule that is edited, a Service that comes and goes."""
    pods, edits, more = Costs(), Costs(), Costs()
    for number in range(1, count + 1):
        old, new = pod(3, 0, generation=number - 1), pod(3, 0, generation=number)
        await made.change(pods, lambda w: w.without_workload((old.namespace, old.name)).with_workload(new))  # noqa: B023
    for number in range(max(2, count // 3)):
        edited = resources_of(_RULE.format(seconds=number + 1))
        await made.change(edits, lambda w: w.with_resources(edited))  # noqa: B023
    for number in range(3):
        added = resources_of(_SERVICE.format(number=number))
        await made.change(more, lambda w: w.with_resources(added))  # noqa: B023
    rows += pods.rows("a pod is replaced by another")
    rows += edits.rows("a VirtualService is edited")
    rows += more.rows("a Service is added")
    rows.append(Row("memory at the end / at most", f"{resident_mib():.0f} / {peak_mib():.0f} MiB"))


def mesh_of(services: int, pods: int, rows: list[Row]) -> World:
    began = time.perf_counter()
    made = world(services, pods)
    count = len(made.services)
    rows.append(
        Row(
            "services derived from rules and workloads",
            f"{count:,} in {time.perf_counter() - began:.1f} s, reading the rules included",
        )
    )
    return made
