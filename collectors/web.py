"""An HTTP server for a small ASGI application: uvicorn's protocol on a socket and a context of ours, without its signal
handlers, its polling loop and its key files."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from mesh.asgi import Application, Receive, Scope, Send, framing_problem, refuse
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_PEER = "remora.peer"
_GOODBYE_S = 0.2


class WebServer:
    """Serves an application until closed."""

    def __init__(
        self,
        application: Application,
        *,
        tls: ssl.SSLContext | None = None,
        identify: Callable[[Any], SpiffeId | None] | None = None,
        admit: Callable[[Any], bool] | None = None,
        max_connections: int = 256,
    ) -> None:
        """`identify`, given the connection's ssl object after the handshake, says whose it is; None ends it. `admit`
        says of one that is nobody's in particular whether it may stay."""
        self._config = uvicorn.Config(
            _unambiguous(application),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            # One parser, whatever else is installed: one that bounds the head.
            http="h11",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=3,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self._identify = identify
        self._admit = admit
        self._server: uvicorn.Server | None = None
        self._sock: socket.socket | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket."""
        config = self._config
        config.load()
        if self._identify is not None:
            config.http_protocol_class = _identifying(config.http_protocol_class, self._identify)
        elif self._admit is not None:
            config.http_protocol_class = _admitting(config.http_protocol_class, self._admit)
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[sock])
        self._server, self._sock = server, sock

    async def close(self) -> None:
        """Answer what is being asked, then close. Clients have _GOODBYE_S to take the last answers and to say goodbye
        in TLS: one that vanished with its machine never does."""
        if self._server is None or self._sock is None:
            return
        state = self._server.server_state
        async with TaskScope() as scope:
            stopping = scope.spawn(self._server.shutdown(sockets=[self._sock]), name="web goodbye")
            while state.tasks and not stopping.done():
                await asyncio.wait((stopping, *state.tasks), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((stopping,), timeout=_GOODBYE_S)
            for connection in list(state.connections):
                connection.transport.abort()
            await stopping


def _unambiguous(application: Application) -> Application:
    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        problem = framing_problem(scope)
        if problem:
            await refuse(scope, receive, send, 400, problem.encode() + b"\n", "text/plain")
        else:
            await application(scope, receive, send)

    return checked


def _identifying(protocol: Any, identify: Callable[[Any], SpiffeId | None]) -> Any:
    class Identifying(protocol):  # type: ignore[misc]
        app_state: dict[str, Any]

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            peer = identify(transport.get_extra_info("ssl_object"))
            if peer is None:
                transport.abort()
            else:
                # Copied into the scope of each of the connection's requests.
                self.app_state = {**self.app_state, _PEER: peer}

    return Identifying


def _admitting(protocol: Any, admit: Callable[[Any], bool]) -> Any:
    class Admitting(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if not admit(transport.get_extra_info("ssl_object")):
                transport.abort()

    return Admitting


def peer_of(scope: Scope) -> SpiffeId | None:
    """Who sent the request; None of a server that does not identify its peers."""
    peer = scope.get("state", {}).get(_PEER)
    assert peer is None or isinstance(peer, SpiffeId)
    return peer
