"""HTTPS for the endpoints: uvicorn on a socket of ours, TLS from memory."""

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator

import uvicorn

from mesh.asgi import Application

MAX_CONNECTIONS = 512
MAX_HEAD_BYTES = 32 * 1024
STOP_S = 2
"""Calls under way have this long to finish."""


class RestServer(uvicorn.Server):
    """Runs within our event loop and leaves signals to us."""

    def __init__(self, app: Application, sock: socket.socket, context: ssl.SSLContext) -> None:
        # uvicorn's own words go where ours go; its requests are not logged: their paths name rules.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=STOP_S,
                ssl_context_factory=lambda _config, _default: context,
            )
        )
        self._socket = sock

    async def run_until_told(self) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[self._socket])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
