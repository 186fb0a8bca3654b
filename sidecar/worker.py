"""The process that forwards bytes: `python -m sidecar.worker --channel-fd N`. Composition root; its agent is its world.

It applies snapshots whole or refuses them whole, serves, reports, and ends when its agent does.
"""

import argparse
import asyncio
import gc
import logging
import os
import secrets as random_source
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from mesh import logs
from mesh.clock import Clock, SystemClock, system_rng
from mesh.lifecycle import TaskScope
from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Surroundings
from sidecar.clusters.inspect import render_clusters
from sidecar.clusters.secrets import Secrets
from sidecar.clusters.table import ClusterTable, UnusableCluster
from sidecar.config.endpoint import Address
from sidecar.config.limits import DESCRIPTOR_SHARE, ProcessLimits
from sidecar.config.messages import (
    AccessLog,
    Applied,
    Apply,
    Drain,
    Drained,
    Growth,
    Inspected,
    Listen,
    Ping,
    Pong,
    Reading,
    Ready,
    Refused,
    Tap,
    TapCount,
    TapCounts,
    Tapped,
    ToAgent,
    ToWorker,
    Untap,
    WindDown,
)
from sidecar.config.snapshot import Node, Snapshot
from sidecar.filters.addon import AddonRules
from sidecar.filters.python_alarm import Alarm, SignalAlarm
from sidecar.filters.python_table import PythonFilters
from sidecar.listeners.context import OpenConnections, Process
from sidecar.listeners.listener import LiveListener, render_listeners
from sidecar.listeners.preparation import UnusableListener
from sidecar.listeners.table import ListenerTable
from sidecar.net.addon_channel import AddonChannels
from sidecar.net.channel import Channel
from sidecar.net.outbox import Outbox
from sidecar.net.timers import TimerWheel
from sidecar.overload.load import Load
from sidecar.overload.memory import LOOK_EVERY_S, Watermark
from sidecar.overload.resident import raise_descriptor_limit, release_free_memory, resident_bytes
from sidecar.tap.taps import Taps
from sidecar.telemetry.recorder import Telemetry
from sidecar.telemetry.request_id import IdSource

FLUSH_S = 1.0
"""How often counters and records go to the agent."""

TERMINATION_S = 5.0
"""How long requests may take to finish after a SIGTERM; an agent's Drain says for itself."""

MAX_TAPPED_BYTES = 8 * 1024 * 1024
"""A tapped request is dropped when so much waits for the agent: its place is behind metrics and access records."""

WARM_S = 2.0
"""How long a snapshot waits for the first answers about DNS clusters' names."""

log = logging.getLogger(__name__)


class Worker:
    """Owns everything that one snapshot after another configures. `send` carries messages to the agent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scope: TaskScope,
        clock: Clock,
        send: Callable[[ToAgent], object],
        telemetry: Telemetry,
        tapped: Callable[[Tapped], bool] | None = None,
        full: Callable[[], bool] = lambda: False,
        limits: ProcessLimits | None = None,
        resident: Callable[[], int] = resident_bytes,
        alarm: Alarm | None = None,
    ) -> None:
        """`tapped` takes a tapped request, or says that it can not; by default as `send`. `full`: the agent is far
        behind, counters shall wait here."""
        self._loop = loop
        self._scope = scope
        self._clock = clock
        self._send = send
        self._full = full
        rng = system_rng()
        self._timers = TimerWheel(loop, clock)
        self._telemetry = telemetry
        outbox = Outbox(loop)
        around = Surroundings(loop, scope, clock, self._timers, outbox)
        self._open = OpenConnections()
        self._taps = Taps(clock, rng, tapped if tapped is not None else lambda record: bool(send(record) or True))
        self._addons = AddonRules(AddonChannels(loop, scope), rng)
        self.load = Load(limits)
        process = Process(
            loop,
            scope,
            clock,
            rng,
            self._timers,
            outbox,
            IdSource(),
            self._telemetry,
            self._open,
            self._taps,
            self._addons,
            self.load,
        )
        self._clusters = ClusterTable(around, rng)
        self._filters = PythonFilters(loop, scope, clock, alarm)
        self._listeners = ListenerTable(process, self._filters)
        self.watermark = Watermark(self.load, resident, release_free_memory, self._listeners.load_changed)
        self._secrets: Secrets | None = None
        self._applying = asyncio.Lock()
        self._winding_down = False
        self.draining = False

    def listen(self, addresses: tuple[Address, ...], fds: list[int]) -> None:
        """Take over listening sockets; they are accepted on once a listener names their address."""
        for address, fd in zip(addresses, fds, strict=True):
            self._listeners.add_socket(address, socket.socket(fileno=fd))

    async def apply(self, sequence: int, snapshot: Snapshot) -> None:
        """Serve `snapshot` and say Applied, or say Refused and go on as before."""
        async with self._applying:
            try:
                secrets = Secrets(snapshot, self._secrets)
                self._telemetry.use_node(snapshot.node)
                self._addons.channels.directory = snapshot.node.addon_sockets
                clusters = self._clusters.prepare(snapshot.clusters, secrets)
                listeners = self._listeners.prepare(snapshot, secrets, clusters)
            except UnusableCluster as error:
                self._send(Refused(sequence, f"clusters/{error.name}", error.path, error.reason))
                return
            except UnusableListener as error:
                self._send(Refused(sequence, error.resource, error.path, error.reason))
                return
            # Clusters before routes and listeners: nothing may name what can not be dialled.
            self._clusters.commit(clusters)
            await self._clusters.warm(WARM_S)
            if not self.draining:
                self._listeners.commit(listeners)
            if self._winding_down:
                self._listeners.wind_down()
            secrets.settled()
            self._secrets = secrets
            log.info("serving snapshot %s", snapshot.version)
            self._send(Applied(sequence))

    def wind_down(self) -> None:
        """Have inbound connections end with their next answers, now and after whatever is applied from now on."""
        self._winding_down = True
        self._listeners.wind_down()

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let requests finish, at most `deadline_s`, then cut what is left."""
        self.draining = True
        self._listeners.drain()
        try:
            async with asyncio.timeout(deadline_s):
                await self._open.wait_for_none()
        except TimeoutError:
            log.warning("not drained within %g s: %d connections are cut", deadline_s, self._open.count)
        abandoned = self._listeners.in_flight
        self._listeners.abort()
        self.flush()
        self._send(Drained(abandoned))

    def inspect(self, sequence: int, what: str) -> None:
        """Answer for the admin interface."""
        if what == "clusters":
            text = render_clusters(self._clusters.clusters)
        elif what == "listeners":
            text = render_listeners(self._listeners.listeners)
        else:
            text = "null"
        self._send(Inspected(sequence, text))

    def tap(self, tap: Tap) -> None:
        """Tell of requests that begin from now on and match."""
        self._taps.open(tap)
        self._watch()
        self._send(TapCounts((TapCount(tap.number, 0, 0),)))

    def untap(self, tap: Untap) -> None:
        """Tell no more."""
        self._send(self._taps.close(tap.number))
        self._watch()

    def _watch(self) -> None:
        for live in self._listeners.listeners:
            for context in live.contexts():
                context.watch = self._taps.watch(context.direction)

    def flush(self) -> None:
        """Hand what was counted and recorded to the agent. While that one does not read, counts go on growing here:
        they are late, but none is lost."""
        if self._full():
            return
        self._listeners.report()
        counters: list[Growth] = [*self._clusters.growth(), *self._listeners.growth(), *self._addons.growth()]
        gauges: list[Reading] = [*self._clusters.readings(), *self._listeners.readings()]
        counters += self._filters.growth()
        gauges += self._filters.readings()
        counters += self.watermark.growth()
        gauges += self.watermark.readings()
        for message in self._telemetry.flush(counters, gauges):
            self._send(message)
        if (seen := self._taps.counts()) is not None:
            self._send(seen)

    async def keep_flushing(self) -> None:
        """Flush once a second, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    async def keep_watching_memory(self) -> None:
        """Look at the watermark a few times a second, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.watermark.look()

    def cluster(self, name: str) -> LiveCluster:
        """The running cluster of that name. Raises KeyError."""
        found = self._clusters.get(name)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def listeners(self) -> tuple[LiveListener, ...]:
        return self._listeners.listeners

    def close(self) -> None:
        """Cut everything."""
        self._listeners.close()
        self._clusters.close()
        self._addons.channels.close()
        self._filters.close()
        self._timers.close()


async def serve(channel_fd: int, limits: ProcessLimits) -> int:
    """Run until the agent asks to drain or goes away; the exit status."""
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    ended: asyncio.Future[int] = loop.create_future()
    epoch = random_source.token_hex(6)
    alarm = SignalAlarm()
    alarm.install()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def closed(error: Exception | None) -> None:
        if error is not None:
            log.error("the channel to the agent broke: %s", error)
        end(0 if error is None else 1)

    async with TaskScope() as scope:

        def receive(message: ToWorker, fds: list[int]) -> None:
            if isinstance(message, Listen):
                worker.listen(message.addresses, fds)
            elif isinstance(message, Apply):
                scope.spawn(worker.apply(message.sequence, message.snapshot), name="apply")
            elif isinstance(message, WindDown):
                worker.wind_down()
            elif isinstance(message, Drain):
                scope.spawn(drain(message.deadline_s), name="drain")
            elif isinstance(message, Tap):
                worker.tap(message)
            elif isinstance(message, Untap):
                worker.untap(message)
            elif isinstance(message, Ping):
                send(Pong())
            else:
                worker.inspect(message.sequence, message.what)

        async def drain(deadline_s: float) -> None:
            await worker.drain(deadline_s)
            end(0)

        channel = Channel(socket.socket(fileno=channel_fd), ToWorker, receive, closed)

        def send(message: ToAgent) -> None:
            channel.send(message)

        def emit(message: AccessLog) -> bool:
            return channel.send(message, droppable=True)

        def full() -> bool:
            return channel.full

        def tapped(message: Tapped) -> bool:
            return channel.queued_bytes < MAX_TAPPED_BYTES and channel.send(message, droppable=True)

        telemetry = Telemetry(Node(), epoch, clock, emit=emit)
        worker = Worker(loop, scope, clock, send, telemetry, tapped, full, limits, alarm=alarm)
        scope.spawn(worker.keep_flushing(), name="flush")
        if limits.memory_bytes:
            scope.spawn(worker.keep_watching_memory(), name="memory")
        send(Ready(os.getpid(), epoch))
        # A terminal's Ctrl-C reaches every process of the group: what then happens is the agent's to say.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, lambda: scope.spawn(drain(TERMINATION_S), name="drain"))
        watch = scope.spawn(_first_failure(scope), name="watch")
        await asyncio.wait([ended, watch], return_when=asyncio.FIRST_COMPLETED)
        status = ended.result() if ended.done() else 1
        if watch.done() and not watch.cancelled() and (failure := watch.result()) is not None:
            log.error("a task failed", exc_info=failure)
        worker.close()
        await _sent(channel)
        channel.close()
    return status


async def _first_failure(scope: TaskScope) -> BaseException | None:
    try:
        await scope.wait_failed()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
    return None


async def _sent(channel: Channel) -> None:
    """Give the agent a moment to read the last messages."""
    for _ in range(100):
        if not channel.queued_bytes:
            return
        await asyncio.sleep(0.01)


def main(arguments: list[str] | None = None) -> int:
    """Parse flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.worker")
    parser.add_argument("--channel-fd", type=int, required=True, help="one end of the socket pair with the agent")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--max-connections", type=int, help="0: no limit; by default, by the descriptors there are")
    parser.add_argument("--max-listener-connections", type=int, default=0, help="0: no limit")
    parser.add_argument("--memory-limit", type=int, default=0, metavar="BYTES", help="0: no limit")
    flags = parser.parse_args(arguments)
    logs.setup(flags.log_level)
    # What is alive by now stays: the collector need not look at modules and configuration types again.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    return run(serve(flags.channel_fd, _limits(flags)))


def _limits(flags: argparse.Namespace) -> ProcessLimits:
    descriptors = raise_descriptor_limit()
    most = int(descriptors * DESCRIPTOR_SHARE) if flags.max_connections is None else flags.max_connections
    return ProcessLimits(most, flags.max_listener_connections, flags.memory_limit)


def run(main_coroutine: Any) -> int:
    """Run on libuv's loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status: int = runner.run(main_coroutine)
    return status


if __name__ == "__main__":
    sys.exit(main())
