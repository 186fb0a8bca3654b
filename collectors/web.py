"""An HTTP server for a small ASGI application: uvicorn's protocol on a socket and a context of ours, without its signal
handlers, its polling loop and its key files."""

import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from mesh.spiffe import SpiffeId

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PEER = "remora.peer"


class BodyTooLarge(Exception):
    """The body is over the limit."""


class WebServer:
    """Serves an application until closed."""

    def __init__(
        self,
        application: Application,
        *,
        tls: ssl.SSLContext | None = None,
        identify: Callable[[Any], SpiffeId | None] | None = None,
        max_connections: int = 256,
    ) -> None:
        """`identify`, given the connection's ssl object after the handshake, says whose it is; None ends it."""
        self._config = uvicorn.Config(
            application,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            # Not httptools, which takes Content-Length beside Transfer-Encoding.
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
        self._server: uvicorn.Server | None = None
        self._sock: socket.socket | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket."""
        config = self._config
        config.load()
        if self._identify is not None:
            config.http_protocol_class = _identifying(config.http_protocol_class, self._identify)
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[sock])
        self._server, self._sock = server, sock

    async def close(self) -> None:
        """Answer what is being asked, then close."""
        if self._server is not None and self._sock is not None:
            await self._server.shutdown(sockets=[self._sock])


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


def peer_of(scope: Scope) -> SpiffeId:
    """Who sent the request, of a server that identifies its peers."""
    peer = scope["state"][_PEER]
    assert isinstance(peer, SpiffeId)
    return peer


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The request's body. Raises BodyTooLarge, and ConnectionError when the client is gone.

    Of one that is too large, a little more is read and forgotten: closed while it still sends, the client would see a
    reset connection and not the answer.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > 4 * max_bytes:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
    body = bytearray()
    size = 0
    more = True
    while more and size <= 4 * max_bytes:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client is gone")
        piece = message.get("body", b"")
        size += len(piece)
        if size <= max_bytes:
            body += piece
        else:
            body.clear()
        more = message.get("more_body", False)
    if size > max_bytes:
        raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
    return bytes(body)


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send a whole response."""
    fields = [(b"content-type", content_type.encode("ascii")), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *headers]})
    await send({"type": "http.response.body", "body": body})
