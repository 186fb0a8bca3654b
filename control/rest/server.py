"""HTTPS for the endpoints: uvicorn on a socket of ours, TLS from memory."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mesh.asgi import Application

MAX_CONNECTIONS = 512
HEAD_S = 10.0
"""From a connection's first moment, or a request's first byte, to the end of its head."""
MAX_HEAD_BYTES = 32 * 1024
STOP_S = 2
"""Calls under way have this long to finish."""


class ImpatientProtocol(H11Protocol):
    """Closes a connection on which a request's head does not come in time, however slowly it comes. uvicorn itself
    waits for ever, and connections that say nothing would use up MAX_CONNECTIONS."""

    _head_due: float | None = None

    def __init__(self, *args: Any, head_s: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_s = head_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # None before the first request, whatever its type says.
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
            self._await_head()
        else:
            self._head_due = None

    def on_response_complete(self) -> None:
        self._head_due = None
        super().on_response_complete()

    def _await_head(self) -> None:
        """By the timer that uvicorn has for idle connections, and cancels when something comes."""
        if self.timeout_keep_alive_task is not None or self.transport.is_closing():
            return
        now = self.loop.time()
        if self._head_due is None:
            self._head_due = now + self._head_s
        left_s = max(0.0, self._head_due - now)
        self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)


class RestServer(uvicorn.Server):
    """Runs within our event loop and leaves signals to us."""

    def __init__(
        self, app: Application, sock: socket.socket, context: ssl.SSLContext, *, head_s: float = HEAD_S
    ) -> None:
        """`head_s`: see HEAD_S."""
        # uvicorn's own words go where ours go; its requests are not logged: their paths name rules.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(ImpatientProtocol, head_s=head_s),  # type: ignore[arg-type]
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
