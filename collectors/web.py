"""An HTTP server for a small ASGI application: uvicorn's protocol on a socket and a context of ours, without its signal
handlers, its polling loop and its key files."""

import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyTooLarge(Exception):
    """The body is over the limit."""


class WebServer:
    """Serves an application until closed."""

    def __init__(
        self,
        application: Application,
        *,
        tls: ssl.SSLContext | None = None,
        admit: Callable[[Any], bool] | None = None,
        max_connections: int = 256,
    ) -> None:
        """`admit`, given the connection's ssl object after the handshake, decides whether it is served."""
        self._config = uvicorn.Config(
            application,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=3,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self._admit = admit
        self._server: uvicorn.Server | None = None
        self._sock: socket.socket | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket."""
        config = self._config
        config.load()
        if self._admit is not None:
            config.http_protocol_class = _admitting(config.http_protocol_class, self._admit)
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[sock])
        self._server, self._sock = server, sock

    async def close(self) -> None:
        """Answer what is being asked, then close."""
        if self._server is not None and self._sock is not None:
            await self._server.shutdown(sockets=[self._sock])


def _admitting(protocol: Any, admit: Callable[[Any], bool]) -> Any:
    class Admitting(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if not admit(transport.get_extra_info("ssl_object")):
                transport.abort()

    return Admitting


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
