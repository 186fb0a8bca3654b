"""The collector process: puts the parts together, says when it serves, stops in order."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from collectors.delivery.abandoned import AbandonedMetrics
from collectors.delivery.abandoned import find as find_abandoned
from collectors.delivery.errors import BufferFault
from collectors.delivery.metrics import DeliveryMetrics
from collectors.delivery.stats import DeliveryStats
from collectors.exporters.sqlite import PATH, StoreExporter
from collectors.health import Health
from collectors.identity import Authority, Identity, IdentityError
from collectors.mesh_listeners import MeshListeners, Parts
from collectors.mesh_targets import FollowedTargets
from collectors.node_metrics import NodeMetrics
from collectors.options import Options, parse
from collectors.pipeline import Consumer, Gate
from collectors.processors.cardinality_guard import Bounds, CardinalityGuard
from collectors.processors.redaction import Redaction
from collectors.receivers.claims import Claims
from collectors.receivers.members import MembersFile
from collectors.sockets import bind, shown
from collectors.store import Limits, Store, StoreError
from collectors.telemetry import Telemetry
from collectors.web import WebServer
from mesh import logs
from mesh.clock import SystemClock, system_rng
from mesh.files import NotPrivate, write_atomic
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals

if TYPE_CHECKING:
    from collectors.settings.context import Context
    from collectors.settings.load import Configuration

__all__ = ["Options", "main", "parse", "run"]

_log = logging.getLogger("remora.collect")

NODE_PATH = "/metrics/node"
TARGETS = "targets.json"
MAX_QUEUED_BYTES = 2 * 1024 * 1024
"""Of records received and not stored yet, as they came; beyond it senders wait. Decoded they take four times that."""
_IDENTITY_DEADLINE_S = 30.0


class Mistake(Exception):
    """What the user has to put right. One line a mistake."""


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline. Returns the exit status: 0, or 1 after a mistake, which
    is one line on standard error, or one for each mistake in the settings file."""
    logs.setup(options.log_level)
    # Every sender is a connection, every file followed and every segment read a descriptor; the usual soft limit of
    # 1,024 is for programs that use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        configuration = _configuration(options)
        for warning in configuration.warnings if configuration is not None else ():
            print(warning, file=sys.stderr)
        if options.check:
            print(f"{options.config}: all is well")
            return 0
        uvloop.run(_Collector(options, configuration).serve())
    except Mistake as mistakes:
        print(mistakes, file=sys.stderr)
        return 1
    except (StoreError, BufferFault, IdentityError, NotPrivate, OSError) as error:
        print(f"remora collect: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return run(parse(sys.argv[1:] if argv is None else argv))


def _configuration(options: Options) -> "Configuration | None":
    if options.config is None:
        return None
    # What reads settings files (YAML, pydantic) is loaded where there is one: it is a third of the process's memory.
    from collectors.settings.document import Invalid
    from collectors.settings.load import load
    from collectors.settings.surroundings import Surroundings

    around = Surroundings(
        in_mesh=options.control is not None,
        state=options.state,
        now=datetime.fromtimestamp(SystemClock().now(), UTC),
        flags=tuple((flag, host, port) for flag, (host, port) in options.listens_on),
        ports_are_free=not options.check,
    )
    try:
        return load(options.config, around)
    except Invalid as error:
        raise Mistake(str(error)) from error


@dataclass(slots=True)
class _Pipeline:
    """What is behind the gate."""

    consumer: Consumer
    store: Store | None
    deliveries: list[tuple[str, DeliveryStats]] = field(default_factory=list)
    buffers: dict[str, Path] = field(default_factory=dict)
    """Directories by exporter."""


class _Collector:
    def __init__(self, options: Options, configuration: "Configuration | None") -> None:
        self._options = options
        self._configuration = configuration
        self._clock = SystemClock()
        self._rng = system_rng()
        self._telemetry = Telemetry()
        self._identity: Identity | None = None
        if options.control is not None:
            authority = Authority(options.control, options.control_ads, options.root, options.token_file)
            self._identity = Identity(authority, self._clock, self._rng)

    async def serve(self) -> None:
        """Everything, from the first certificate to the last commit."""
        stop = asyncio.Event()
        undo_signals = on_stop_signals(stop.set)
        try:
            async with TaskScope() as scope, contextlib.AsyncExitStack() as stack:
                if self._options.lifeline_fd is not None:
                    scope.spawn(follow_lifeline(self._options.lifeline_fd, stop.set), name="lifeline")
                starting = scope.spawn(self._start(scope, stack), name="start")
                stopping = scope.spawn(stop.wait(), name="stop")
                await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    starting.cancel()
                    await asyncio.wait((starting,))
                    return
                await starting
                failed = scope.spawn(scope.wait_failed(), name="failure")
                await asyncio.wait((stopping, failed), return_when=asyncio.FIRST_COMPLETED)
                if failed.done() and not stopping.done():
                    await failed
                _log.info("stopping")
        finally:
            undo_signals()

    async def _start(self, scope: TaskScope, stack: contextlib.AsyncExitStack) -> None:
        options = self._options
        targets = options.state / TARGETS
        claims = Claims(MembersFile(targets).present, self._telemetry, self._clock)
        pages: dict[str, Callable[[], object]] = {}
        context = None if self._configuration is None else self._context(claims, stack, pages)
        # Closed last: what receivers still hand over is stored first.
        store = await self._open_store(stack) if self._configuration is None else None
        # Ports first: one that is taken shall be known at once and not after the certificate.
        scrapes = self._configuration is None or not self._configuration.has("receivers", "scrape")
        listeners = MeshListeners(options, scrapes=scrapes)
        health_socket = bind(options.health)
        if self._identity is not None:
            await self._identity.obtain(deadline_s=_IDENTITY_DEADLINE_S)
        if store is not None:
            pipeline = _Pipeline(StoreExporter(store), store)
        else:
            assert context is not None
            pipeline = await self._assemble(context)
        gate = Gate(Redaction(self._guarded(pipeline.consumer)), MAX_QUEUED_BYTES)
        pages["/cardinality"] = self._telemetry.report_cardinality
        if options.node_metrics:
            pages[NODE_PATH] = partial(asyncio.to_thread, NodeMetrics().render)
        self._telemetry.watch(pipeline.store, gate, self._certificate_expires)
        self._telemetry.registry.register(DeliveryMetrics(pipeline.deliveries, self._clock.now))
        abandoned = await asyncio.to_thread(find_abandoned, options.state, pipeline.buffers)
        self._telemetry.registry.register(AbandonedMetrics(abandoned))
        health = WebServer(
            Health(pipeline.store, self._telemetry, self._clock, pipeline.deliveries, pages, abandoned=abandoned)
        )
        stack.push_async_callback(health.close)

        background = TaskScope()
        parts = Parts(gate, self._telemetry, self._clock, self._rng, claims, targets)
        ready = await listeners.serve(parts, self._identity, stack, background)
        ready["health"] = shown(health_socket)
        if context is not None:
            ready |= await self._receive(context, gate)
        await health.listen(health_socket)
        # Ended before the receivers.
        stack.push_async_callback(background.close)
        if self._identity is not None:
            background.spawn(self._identity.keep_renewed(), name="identity")
            background.spawn(self._identity.follow_roots(), name="roots")
            if followed := self._followed(self._identity):
                background.spawn(followed.run(), name="targets")
        scope.spawn(background.wait_failed(), name="background")
        if context is not None:
            scope.spawn(context.wait_failed(), name="parts")
        _log.info("collecting: %s", ", ".join(f"{name} {address}" for name, address in sorted(ready.items())))
        self._tell_neighbours(ready, stack)
        _spare_the_collector()
        announce(options.ready_fd, ready)

    def _followed(self, identity: Identity) -> FollowedTargets | None:
        options = self._options
        if not options.follow_targets or options.control_ads is None:
            return None
        path, registry = options.state / TARGETS, self._telemetry.registry
        return FollowedTargets(options.control_ads, identity, path, registry, self._clock, self._rng)

    def _tell_neighbours(self, ready: dict[str, str], stack: contextlib.AsyncExitStack) -> None:
        """`collector.json`, for the control plane's list of targets and for the command; gone when we are."""
        path = self._options.state / "collector.json"
        said = ready | {"pid": os.getpid()} | ({"node": NODE_PATH} if self._options.node_metrics else {})
        write_atomic(path, json.dumps(said).encode(), mode=0o600)
        stack.callback(path.unlink, missing_ok=True)

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> Store:
        options = self._options
        limits = Limits(retention_s=options.retention_hours * 3600, max_bytes=options.max_store_mib << 20)
        store = await asyncio.to_thread(Store.open, options.state / PATH, limits=limits, clock=self._clock)
        stack.push_async_callback(asyncio.to_thread, store.close)
        return store

    def _guarded(self, then: Consumer) -> Consumer:
        """Whatever the settings say, the number of series is bounded."""
        if self._configuration is not None and self._configuration.has("processors", "cardinality"):
            return then
        guard = CardinalityGuard(Bounds(), self._telemetry, self._clock, then)
        self._telemetry.cardinality["collector"] = guard.report
        return guard

    def _certificate_expires(self) -> float:
        return self._identity.credentials.not_after if self._identity is not None else 0.0

    # With a settings file.

    def _context(
        self, claims: Claims, stack: contextlib.AsyncExitStack, pages: dict[str, Callable[[], object]]
    ) -> "Context":
        from collectors.settings.context import Context

        identity = self._identity
        self._options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Context(
            clock=self._clock,
            rng=self._rng,
            telemetry=self._telemetry,
            state=self._options.state,
            claims=claims,
            credentials=None if identity is None else lambda: identity.credentials,
            stack=stack,
            pages=pages,
        )

    async def _assemble(self, context: "Context") -> _Pipeline:
        from collectors.assembly import CannotBuild, assemble

        assert self._configuration is not None
        try:
            built = await assemble(self._configuration, context)
        except CannotBuild as error:
            raise Mistake(f"{self._configuration.path}: {error}") from error
        stats = [(one.name, one.stats) for one in built.deliveries]
        return _Pipeline(built.consumer, built.store, stats, built.buffers)

    async def _receive(self, context: "Context", consumer: Consumer) -> dict[str, str]:
        from collectors.assembly import CannotBuild, build_receivers

        assert self._configuration is not None
        ready: dict[str, str] = {}
        try:
            for receiver in build_receivers(self._configuration, context, consumer):
                ready |= await receiver.start()
        except CannotBuild as error:
            raise Mistake(f"{self._configuration.path}: {error}") from error
        return ready


def _spare_the_collector() -> None:
    """Python's collector of cycles looks through what lives, again and again, the more records pass: a tenth of the CPU
    for next to nothing, since records have no cycles. What is there now stays; the rest is looked at more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
