"""The query service's process."""

import asyncio
import contextlib
import logging
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
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals

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
                scope.spawn(follow_lifeline(options.lifeline_fd, stop.set), name="lifeline")
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
            announce(options.ready_fd, {"url": url})
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
