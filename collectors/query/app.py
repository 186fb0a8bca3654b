"""The query service's process."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from collectors.query.api import QueryApi
from collectors.query.backend import Backend, BackendError
from collectors.query.options import Options, hosts, parse
from collectors.query.store_backend import StoreBackend
from collectors.query.telemetry import QueryTelemetry
from collectors.receivers.listeners import bind, bound_address
from collectors.web import WebServer
from mesh import logs
from mesh.clock import SystemClock
from mesh.files import NotPrivate, read_token
from mesh.lifecycle import TaskScope, on_stop_signals, wait_for_lifeline

__all__ = ["Options", "main", "parse", "run"]

_log = logging.getLogger("remora.query")


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline. Returns the exit status: 0, or 1 after a mistake, which
    is one line on standard error."""
    logs.setup(options.log_level)
    if options.state is not None and not options.state.is_dir():
        print(f"remora query: there is no state directory {options.state}", file=sys.stderr)
        return 1
    try:
        asyncio.run(_serve(options))
    except (BackendError, NotPrivate, OSError, ValueError) as error:
        print(f"remora query: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return run(parse(sys.argv[1:] if argv is None else argv))


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    undo_signals = on_stop_signals(stop.set)
    try:
        async with contextlib.AsyncExitStack() as stack, TaskScope() as scope:
            if options.lifeline_fd is not None:
                scope.spawn(_until_gone(options.lifeline_fd, stop), name="lifeline")
            token = None if options.token_file is None else _reading(options.token_file)
            backend = _backend(options)
            stack.push_async_callback(backend.close)
            sock = bind(options.listen)
            address = bound_address(sock)
            telemetry = QueryTelemetry()
            api = QueryApi(backend, SystemClock(), telemetry, hosts=hosts(options, address), token=token)
            server = WebServer(api)
            stack.push_async_callback(server.close)
            await server.listen(sock)
            url = f"http://{address}"
            _log.info("answering at %s", url)
            if options.ready_fd is not None:
                with os.fdopen(options.ready_fd, "w") as file:
                    file.write(json.dumps({"url": url}) + "\n")
            await stop.wait()
            _log.info("stopping")
    finally:
        undo_signals()


def _backend(options: Options) -> Backend:
    if options.state is not None:
        return StoreBackend(options.state / "store" / "telemetry.sqlite")
    # Loaded by those alone who ask for it: the official client is large.
    from collectors.query.elasticsearch import open_backend

    return open_backend(options, SystemClock())


def _reading(path: Path) -> Callable[[], str]:
    """The token of the moment: one that is replaced counts at once. Raises now for a file that is no good."""

    def read() -> str:
        token = read_token(path).decode("utf-8").strip()
        if not token:
            raise ValueError(f"{path} is empty")
        return token

    read()
    return read


async def _until_gone(fd: int, stop: asyncio.Event) -> None:
    await wait_for_lifeline(fd)
    stop.set()
