"""The control plane's process: binds ports, runs the parts until told to stop, says in one line why it cannot."""

import asyncio
import contextlib
import json
import logging
import os
import resource
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from control.ca.errors import BrokenAuthority
from control.options import Options, parse
from control.plane import Plane, Stored, open_stored
from control.rest.guard import UnusableToken
from control.rest.server import RestServer
from control.rest.workloads import Addresses
from control.stores import FileStore, StoreError
from control.xds.publisher import Publisher
from mesh import logs
from mesh.clock import SystemClock
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope, on_stop_signals, wait_for_lifeline

__all__ = ["Options", "parse", "run"]

_log = logging.getLogger("control")

GRACE_S = 0.5
"""RPCs under way at the end have this long; streams never end by themselves."""
LEAVE_S = 4.0
"""A thread that still reads ten thousand rules does not keep the process after SIGTERM: what is stored is safe against
worse."""
WATCH_AGAIN_S = 5.0


class CannotStart(Exception):
    """One line for the operator."""


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline; the process's exit status."""
    logs.setup(options.log_level, as_json=options.log_json)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it reports what we wrote ourselves
    os.umask(0o077)
    # Every sidecar is a connection, and the usual soft limit of 1,024 is for programs that use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clock = SystemClock()
    try:
        stored = open_stored(options, clock)
        leave = threading.Timer(LEAVE_S, os._exit, (0,))
        leave.daemon = True
        try:
            asyncio.run(_serve(options, stored, clock, leave.start))
        finally:
            stored.store.close()
            leave.cancel()
    except (CannotStart, StoreError, BrokenAuthority, UnusableToken) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot use {error.filename or options.state}: {error.strerror or error}")
    return 0


def _fail(text: str) -> int:
    print(f"remora control: {text}", file=sys.stderr)
    return 1


async def _serve(options: Options, stored: Stored, clock: SystemClock, stopping: Callable[[], None]) -> None:
    """`stopping` is called when the end begins."""
    plane = Plane(options, stored, clock)
    await plane.publisher.start(stored.store.world)
    stop = asyncio.get_running_loop().create_future()

    def stop_now() -> None:
        if not stop.done():
            stop.set_result(None)

    undo = on_stop_signals(stop_now)
    try:
        async with TaskScope() as waiting, TaskScope() as scope, _listening(options, plane) as (addresses, rest):
            waiting.spawn(_report_failure(scope, stop), name="failure")
            if options.lifeline_fd is not None:
                waiting.spawn(_follow(options.lifeline_fd, stop_now), name="lifeline")
            serving = scope.spawn(rest.run_until_told(), name="rest")
            scope.spawn(plane.publisher.run(), name="publisher")
            scope.spawn(plane.targets.run(), name="targets")
            scope.spawn(stored.authority.keep(), name="root rotation")
            scope.spawn(_watch(stored.store, plane.publisher), name="store watch")
            _announce(options, addresses)
            try:
                await stop
                _log.info("stopping")
                stopping()
            finally:
                (options.state / "control.json").unlink(missing_ok=True)
                rest.should_exit = True
                await asyncio.wait({serving}, timeout=5)
    finally:
        undo()


@contextlib.asynccontextmanager
async def _listening(options: Options, plane: Plane) -> AsyncIterator[tuple[Addresses, RestServer]]:
    """Every port bound, the gRPC ones serving. Raises CannotStart."""
    ads, csr = plane.ads_server(), plane.csr_server()
    async with contextlib.AsyncExitStack() as stack:
        sock = stack.enter_context(_bound(options.host, options.rest_port, "--rest-port"))
        ads_port = _add_port(ads, plane, options, options.ads_port, "--ads-port", mutual=True)
        csr_port = _add_port(csr, plane, options, options.csr_port, "--csr-port", mutual=False)
        for server in (ads, csr):
            await server.start()
            stack.push_async_callback(server.stop, GRACE_S)
        sock.listen()  # who is told that we are ready may connect at once
        rest_at = _address(options.host, sock.getsockname()[1])
        addresses = Addresses(_address(options.host, ads_port), _address(options.host, csr_port), f"https://{rest_at}")
        yield addresses, RestServer(plane.rest_app(addresses), sock, plane.serving.ssl_context())


def _bound(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise CannotStart(f"cannot listen on {_address(host, port)} ({flag}): {error.strerror}") from error
    return sock


def _add_port(server: Any, plane: Plane, options: Options, port: int, flag: str, *, mutual: bool) -> int:
    # gRPC's own words about a port in use are many; ours are one line.
    _bound(options.host, port, flag).close()
    credentials = plane.serving.grpc_credentials(demand_certificate=mutual)
    try:
        bound: int = server.add_secure_port(_address(options.host, port), credentials)
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {_address(options.host, port)} ({flag})") from error
    return bound


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _announce(options: Options, addresses: Addresses) -> None:
    """Ready: for the command in `control.json`, for the parent on its descriptor."""
    ready = {"ads": addresses.ads, "csr": addresses.csr, "rest": addresses.rest}
    write_atomic(options.state / "control.json", json.dumps(ready | {"pid": os.getpid()}).encode(), mode=0o600)
    _log.info("ready: xds %s, certificates %s, rest %s", addresses.ads, addresses.csr, addresses.rest)
    if options.ready_fd is not None:
        with open(options.ready_fd, "wb") as file:
            file.write(json.dumps(ready).encode() + b"\n")


async def _report_failure(scope: TaskScope, stop: "asyncio.Future[None]") -> None:
    try:
        await scope.wait_failed()
    except Exception as error:  # every part's failure ends the process, with that part's reason
        if not stop.done():
            stop.set_exception(error)


async def _follow(lifeline_fd: int, stop: Any) -> None:
    await wait_for_lifeline(lifeline_fd)
    stop()


async def _watch(store: FileStore, publisher: Publisher) -> None:
    """Take over edits made to the stored files by hand."""
    while True:
        try:
            async for event in store.watch():
                for violation in event.violations:
                    _log.warning("stored rules: %s", violation)
                if event.world is not None:
                    publisher.submit(event.world, "files")
                else:
                    _log.error("the edited rules are not taken over; the last good ones go on")
        except (OSError, RuntimeError) as error:
            _log.error("cannot watch the rules: %s", error)
        await asyncio.sleep(WATCH_AGAIN_S)
