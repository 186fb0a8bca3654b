"""The console's process: one socket, the gate, the pages, and a clean end."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.staticfiles import StaticFiles

from dashboards.console.console import Console
from dashboards.console.control import ControlPlane
from dashboards.console.doors import StateDoor
from dashboards.console.options import CannotStart, Options
from dashboards.console.pages import register
from dashboards.console.session import Gate, Session, hosts_for
from dashboards.console.telemetry import Telemetry
from mesh.clock import SystemClock
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals

ASSETS = Path(__file__).parent / "assets"

STOP_WITHIN_S = 2
"""Open pages are cut off after this."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""From a browser at once: a rule's text is the largest that it sends."""

RECONNECT_S = 20.0
"""A page whose connection broke (a laptop that slept) may come back for so long without losing its place."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they end the process by the signal instead of with status 0."""

    def __init__(self, config: uvicorn.Config, on_serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_serving = on_serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_serving()


async def serve(options: Options) -> None:
    """Serve until told to stop. Raises CannotStart."""
    sock = _bind(options.host, options.port)
    port = sock.getsockname()[1]
    session = Session(cookie_name=f"remora_console_{port}")
    control = ControlPlane(options.control or StateDoor(options.state))
    console = Console(Telemetry(options.state / "store" / "telemetry.sqlite"), control, SystemClock())
    server = _Server(
        uvicorn.Config(
            Gate(_application(console), session, hosts_for(options.host, port)),
            # Requests are not logged: the first one's address has the token in it.
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
            ws_max_size=MAX_MESSAGE_BYTES,
        ),
        lambda: _report_ready(options, session, port),
    )

    def stop() -> None:
        server.should_exit = True

    undo = on_stop_signals(stop)
    try:
        async with TaskScope() as scope:
            if options.lifeline_fd is not None:
                scope.spawn(follow_lifeline(options.lifeline_fd, stop), name="lifeline")
            await server.serve(sockets=[sock])
    finally:
        undo()
        sock.close()
        await console.control.close()
        await console.telemetry.close()


def _application(console: Console) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.mount("/assets", StaticFiles(directory=ASSETS))
    register(console)
    ui.run_with(
        app,
        title="Remora",
        favicon=ASSETS / "remora.svg",
        dark=None,
        reconnect_timeout=RECONNECT_S,
        # Styles are our own; the framework's utility compiler would run in every page.
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    return app


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return sock


def _report_ready(options: Options, session: Session, port: int) -> None:
    # Who listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    url = f"http://{host}:{port}/?token={session.token}"
    if options.url_file is not None:
        try:
            write_atomic(options.url_file, f"{url}\n".encode(), mode=0o600)
        except OSError as error:
            raise CannotStart(f"cannot write {options.url_file}: {error.strerror}") from error
    if options.ready_fd is None:
        if options.url_file is None:
            print(url, flush=True)
        return
    try:
        announce(options.ready_fd, {"url": url})
    except OSError as error:
        raise CannotStart(f"cannot write to descriptor {options.ready_fd}: {error.strerror}") from error
