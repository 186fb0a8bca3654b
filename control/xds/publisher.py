"""From a changed World to the streams: wait for more, plan once, and wake those whose snapshot is another."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from control.api.world import World
from control.translate.proxies import identity_of
from control.xds.metrics import DiscoveryMetrics
from control.xds.plan import Plan
from control.xds.planner import Planner
from control.xds.queue import ChangeQueue, Debounce
from control.xds.stream import Stream, workload_key
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control.xds")

MAX_STREAMS_PER_NODE = 4
"""A proxy has one, for a moment two: the old one may not know yet that it is dead. The oldest makes room."""


class Publisher:
    """Owns the present plan and the connected streams."""

    def __init__(
        self, planner: Planner, clock: Clock, metrics: DiscoveryMetrics, debounce: Debounce | None = None
    ) -> None:
        self._planner = planner
        self._clock = clock
        self._metrics = metrics
        self._queue = ChangeQueue(debounce or Debounce())
        self._changed = asyncio.Event()
        self._world = World()
        self._plan = Plan()
        self._trial: Plan | None = None
        self._streams: dict[str, list[Stream]] = {}
        self._connected = 0
        self.on_change: list[Callable[[World], None]] = []
        """Called with every World, at once."""

    @property
    def plan(self) -> Plan:
        """The last one published."""
        return self._plan

    @property
    def world(self) -> World:
        """The last one submitted."""
        return self._world

    @property
    def version(self) -> str:
        """Of the last World submitted; a proxy that runs it is up to date."""
        return self._planner.version_of(self._world)

    def streams(self) -> Iterator[Stream]:
        """Every connected one; of a node's several, the newest last."""
        return (stream for of_node in self._streams.values() for stream in of_node)

    def newest_stream(self, node_id: str) -> Stream | None:
        of_node = self._streams.get(node_id)
        return of_node[-1] if of_node else None

    def is_registered(self, node_id: str, identity: SpiffeId) -> bool:
        """Whether `node_id` is a workload's of the newest World, and `identity` that workload's own."""
        workload = self._world.workloads.get(workload_key(node_id))
        return (
            workload is not None
            and workload.node_id == node_id
            and identity_of(workload, identity.trust_domain) == identity
        )

    def submit(self, world: World, reason: str, trial: Plan | None = None) -> None:
        """This is the World now. Published soon, together with what else happens; a trial of it spares planning it.

        An older one than is known is not: who applied rules may come later than the watch that saw them applied.
        """
        if world.generation < self._world.generation:
            return
        self._world = world
        self._trial = trial
        self._queue.note(reason, self._clock.monotonic())
        self._metrics.triggers.labels(reason).inc()
        self._changed.set()
        self._tell(world)

    def _tell(self, world: World) -> None:
        for changed in self.on_change:
            changed(world)

    async def start(self, world: World) -> None:
        """The first World, planned before anyone can connect."""
        self._world = world
        self._publish(await self._planner.plan(world), self._clock.monotonic())
        self._tell(world)

    async def run(self) -> None:
        """Publish, for ever."""
        while True:
            await self._changed.wait()
            wait_s = (self._queue.due_at() or 0.0) - self._clock.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                continue  # perhaps more has come, which is waited for as well
            self._changed.clear()
            since, reasons = self._queue.take()
            self._metrics.queue_time.observe(self._clock.monotonic() - since)
            began = self._clock.monotonic()
            world, trial, self._trial = self._world, self._trial, None
            plan = self._planner.adopt(trial, world) if trial is not None else None
            if plan is None and world is self._plan.world and self._plan.version == self._planner.version_of(world):
                plan = self._plan  # somebody registered again as what he was
            if plan is None:
                plan = await self._planner.plan(world)
            took_s = self._clock.monotonic() - began
            self._metrics.push_time.observe(took_s)
            woken = self._publish(plan, since)
            _log.info(
                "version %s (%s): %d proxies planned in %.0f ms, %d to update",
                plan.version,
                ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())),
                len(plan.snapshots),
                took_s * 1000,
                woken,
            )

    def _publish(self, plan: Plan, since: float) -> int:
        """The number of nodes that have something to learn."""
        before, self._plan = self._plan, plan
        self._metrics.problems.set(len(plan.problems))
        said = frozenset(before.problems)
        for problem in plan.problems:
            if problem not in said:
                _log.error("snapshot problem: %s", problem)
        changed = 0
        for node_id, streams in self._streams.items():
            changed += plan.snapshots.get(node_id) is not before.snapshots.get(node_id)
            for stream in streams:
                self._update(stream, node_id, since)
        return changed

    def _update(self, stream: Stream, node_id: str, since: float) -> None:
        workload = self._world.workloads.get(stream.workload_key)
        if workload is None or workload is not stream.admitted_as:
            if not self.is_registered(node_id, stream.peer.identity):
                stream.close("the workload is not registered any more, or has another identity")
                return
            stream.admitted_as = workload
        # A workload that registered a moment ago is in the next plan.
        proxy, snapshot = self._plan.proxies.get(node_id), self._plan.snapshots.get(node_id)
        if proxy is not None and snapshot is not None and proxy.identity == stream.identity:
            stream.offer(self._plan.version, snapshot, since)

    def connect(self, stream: Stream) -> None:
        """A proxy is there. It gets what it is to have, at once or with the next plan."""
        of_node = self._streams.setdefault(stream.node_id, [])
        of_node.append(stream)
        self._connected += 1
        while len(of_node) > MAX_STREAMS_PER_NODE:
            of_node.pop(0).close("too many streams of this node")
            self._connected -= 1
        self._metrics.connected.set(self._connected)
        self._update(stream, stream.node_id, self._clock.monotonic())

    def disconnect(self, stream: Stream) -> None:
        """It is gone."""
        of_node = self._streams.get(stream.node_id, [])
        if stream in of_node:
            of_node.remove(stream)
            self._connected -= 1
        if not of_node:
            self._streams.pop(stream.node_id, None)
        self._metrics.connected.set(self._connected)
