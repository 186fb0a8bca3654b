"""The control plane's process: binds ports, runs the parts until told to stop, says in one line why it cannot."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from control.ca.errors import BrokenAuthority
from control.kubernetes.errors import ClusterUnusable
from control.laptop import Laptop
from control.listening import CannotStart, bound, spell_address
from control.options import Options, parse
from control.plane import Plane, Stored
from control.rest.guard import UnusableToken
from control.rest.probes import Probes
from control.rest.server import RestServer
from control.rest.workloads import Addresses
from control.stores import StoreError
from mesh import logs
from mesh.clock import Clock, SystemClock
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals

__all__ = ["Options", "parse", "run"]

_log = logging.getLogger("control")

GRACE_S = 0.5
"""RPCs under way at the end have this long; streams never end by themselves."""
LEAVE_S = 4.0
"""A thread that still reads ten thousand rules does not keep the process after SIGTERM: what is stored is safe against
worse."""


class Ground(Protocol):
    """What the control plane stands on: `Laptop` or `InCluster`."""

    stored: Stored

    def missing(self) -> list[str]:
        """What is not known yet, for `/readyz`; empty once the World is whole."""

    async def synced(self) -> None:
        """Return once nothing is missing: nothing is served before, least of all an empty mesh."""

    def start(self, scope: TaskScope, plane: Plane) -> None:
        """Begin what goes on beside serving."""

    async def wait_failed(self) -> None:
        """Return never, raise what ended a part of it."""

    def addresses(self) -> dict[str, str]:
        """Of what `start` has begun to serve, by name."""

    async def stop(self) -> None:
        """The end has begun: let others take over what they wait for."""


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline; the process's exit status."""
    logs.setup(options.log_level, as_json=options.log_json)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it reports what we wrote ourselves
    os.umask(0o077)
    # Every sidecar is a connection, and the usual soft limit of 1,024 is for programs that use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    leave = threading.Timer(LEAVE_S, os._exit, (0,))
    leave.daemon = True
    try:
        _run(options, SystemClock(), leave.start)
    except (CannotStart, StoreError, BrokenAuthority, UnusableToken, ClusterUnusable) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot use {error.filename or options.state}: {error.strerror or error}")
    finally:
        leave.cancel()
    return 0


def _run(options: Options, clock: Clock, stopping: Callable[[], None]) -> None:
    """`stopping` is called when the end begins."""
    if options.kubernetes is not None:
        from control.cluster import in_cluster  # half a second and 40 MB, which a laptop's mesh has no use for

        async def serve() -> None:
            async with in_cluster(options, clock) as ground:
                await _serve(options, ground, clock, stopping)

        asyncio.run(serve())
        return
    laptop = Laptop(options, clock)
    try:
        asyncio.run(_serve(options, laptop, clock, stopping))
    finally:
        laptop.close()


def _fail(text: str) -> int:
    print(f"remora control: {text}", file=sys.stderr)
    return 1


async def _serve(options: Options, ground: Ground, clock: Clock, stopping: Callable[[], None]) -> None:
    plane = Plane(options, ground.stored, clock)
    stop = asyncio.get_running_loop().create_future()

    def stop_now() -> None:
        if not stop.done():
            stop.set_result(None)

    undo = on_stop_signals(stop_now)
    try:
        async with TaskScope() as waiting, TaskScope() as scope, _bound_ports(options, plane) as ports:
            waiting.spawn(_report_failure(scope, stop), name="failure")
            if options.lifeline_fd is not None:
                waiting.spawn(follow_lifeline(options.lifeline_fd, stop_now), name="lifeline")
            serving = scope.spawn(ports.rest(ground, plane).run_until_told(), name="rest")
            scope.spawn(ground.wait_failed(), name="ground")
            scope.spawn(plane.serving.keep(), name="own certificate")
            scope.spawn(_go_live(options, ground, plane, ports, scope), name="start")
            try:
                await stop
                _log.info("stopping")
                stopping()
                await ground.stop()
            finally:
                (options.state / "control.json").unlink(missing_ok=True)
                ports.stop()
                await asyncio.wait({serving}, timeout=5)
    finally:
        undo()


async def _go_live(options: Options, ground: Ground, plane: Plane, ports: "_Ports", scope: TaskScope) -> None:
    """Once the World is known, and planned, sidecars may connect."""
    await ground.synced()
    await plane.publisher.start(ground.stored.store.world)
    # Most of what there is now stays. Looking through it for cycles would stop everything for 0.1 s each time in a mesh
    # of 5,000 pods.
    gc.collect()
    gc.freeze()
    scope.spawn(plane.publisher.run(), name="publisher")
    ground.start(scope, plane)
    await ports.start()
    _announce(options, ports.addresses, ground.addresses())


class _Ports:
    """Every port, bound. Of them REST serves from the start, the gRPC ones after `start`."""

    def __init__(self, options: Options, plane: Plane, stack: contextlib.AsyncExitStack) -> None:
        """Raises CannotStart."""
        self._stack = stack
        self._servers = (plane.ads_server(), plane.csr_server())
        self._socket = stack.enter_context(bound(options.host, options.rest_port, "--rest-port"))
        ads_port = _add_port(self._servers[0], plane, options, options.ads_port, "--ads-port", mutual=True)
        csr_port = _add_port(self._servers[1], plane, options, options.csr_port, "--csr-port", mutual=False)
        self._socket.listen()  # who is told that we are ready may connect at once
        rest_at = spell_address(options.host, self._socket.getsockname()[1])
        self.addresses = Addresses(
            spell_address(options.host, ads_port), spell_address(options.host, csr_port), f"https://{rest_at}"
        )
        self.live = False
        self._rest: RestServer | None = None

    def rest(self, ground: Ground, plane: Plane) -> RestServer:
        def missing() -> list[str]:
            return ground.missing() or ([] if self.live else ["the first configuration"])

        app = Probes(plane.rest_app(self.addresses), missing)
        self._rest = RestServer(app, self._socket, plane.serving.ssl_context())
        return self._rest

    async def start(self) -> None:
        for server in self._servers:
            await server.start()
            self._stack.push_async_callback(server.stop, GRACE_S)
        self.live = True

    def stop(self) -> None:
        self.live = False
        if self._rest is not None:
            self._rest.should_exit = True


@contextlib.asynccontextmanager
async def _bound_ports(options: Options, plane: Plane) -> AsyncIterator[_Ports]:
    """Raises CannotStart."""
    async with contextlib.AsyncExitStack() as stack:
        yield _Ports(options, plane, stack)


def _add_port(server: Any, plane: Plane, options: Options, port: int, flag: str, *, mutual: bool) -> int:
    # gRPC's own words about a port in use are many; ours are one line.
    bound(options.host, port, flag).close()
    credentials = plane.serving.grpc_credentials(demand_certificate=mutual)
    try:
        number: int = server.add_secure_port(spell_address(options.host, port), credentials)
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {spell_address(options.host, port)} ({flag})") from error
    return number


def _announce(options: Options, addresses: Addresses, more: dict[str, str]) -> None:
    """Ready: for the command in `control.json`, for the parent on its descriptor."""
    named = {"ads": addresses.ads, "csr": addresses.csr, "rest": addresses.rest} | more
    # Both are on this machine, and the certificate names its loopback address, not a wildcard.
    ready = {name: _from_here(at, options.host) for name, at in named.items()}
    write_atomic(options.state / "control.json", json.dumps(ready | {"pid": os.getpid()}).encode(), mode=0o600)
    _log.info("ready: xds %s, certificates %s, rest %s", addresses.ads, addresses.csr, addresses.rest)
    announce(options.ready_fd, ready)


def _from_here(address: str, host: str) -> str:
    wildcard = {"0.0.0.0": "0.0.0.0", "::": "[::]"}.get(host)  # noqa: S104 - listened at, not by this
    return address.replace(wildcard, "127.0.0.1", 1) if wildcard is not None else address


async def _report_failure(scope: TaskScope, stop: "asyncio.Future[None]") -> None:
    try:
        await scope.wait_failed()
    except Exception as error:  # every part's failure ends the process, with that part's reason
        if not stop.done():
            stop.set_exception(error)
