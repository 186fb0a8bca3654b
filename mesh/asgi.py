"""What the HTTP servers of control plane and collector do before and instead of an application: refuse ambiguous
framing, read a body of bearable size, and refuse in a way that a client reads which is still sending."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_DROPPED_BYTES = 64 * 1024 * 1024
"""Of a body that nobody wants; a client that sends more sees its connection reset."""
MAX_DROPPING_S = 10.0


class BodyTooLarge(Exception):
    """The body is over the limit."""


class ClientGone(ConnectionError):
    """Nobody is left to be answered."""


def framing_problem(scope: Scope) -> str:
    """Why the end of the request's body could be read differently by somebody else; empty if it could not.

    RFC 9112 section 6.1: Content-Length beside Transfer-Encoding, or Transfer-Encoding in HTTP/1.0, ought to be
    handled as an error. h11 follows Transfer-Encoding and goes on.
    """
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" not in names:
        return ""
    if b"content-length" in names:
        return "Content-Length and Transfer-Encoding together"
    return "Transfer-Encoding in HTTP/1.0" if scope["http_version"] == "1.0" else ""


async def body_pieces(scope: Scope, receive: Receive, max_bytes: int) -> AsyncGenerator[bytes]:
    """The request's body as it comes. Raises BodyTooLarge (nothing more has been read then) and ClientGone."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > max_bytes):
            raise BodyTooLarge(f"the body has more than {max_bytes} bytes")
    seen = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone("the client is gone")
        piece = message.get("body", b"")
        seen += len(piece)
        if seen > max_bytes:
            raise BodyTooLarge(f"the body has more than {max_bytes} bytes")
        if piece:
            yield piece
        more = message.get("more_body", False)


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The request's body, whole. Raises as `body_pieces`."""
    async with contextlib.aclosing(body_pieces(scope, receive, max_bytes)) as pieces:
        return b"".join([piece async for piece in pieces])


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": _fields(body, content_type, headers)})
    await send({"type": "http.response.body", "body": body})


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    body: bytes,
    content_type: str,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Answer a request whose body was not read, or not to its end.

    The answer goes out at once. What the client is still sending is read and dropped within bounds before the
    connection closes: closed earlier, the kernel would answer its next bytes with a reset, which takes the answer out
    of its hands (RFC 9112 section 9.6).
    """
    if not has_body(scope):
        await respond(send, status, body, content_type, headers)
        return
    fields = [*_fields(body, content_type, headers), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(MAX_DROPPING_S):
            dropped = 0
            more = True
            while more and dropped <= MAX_DROPPED_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b""})


def has_body(scope: Scope) -> bool:
    """Whether the request announced one."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
        for name, value in scope["headers"]
    )


def _fields(body: bytes, content_type: str, headers: tuple[tuple[bytes, bytes], ...]) -> Headers:
    length = str(len(body)).encode("ascii")
    return [(b"content-type", content_type.encode("ascii")), (b"content-length", length), *headers]
