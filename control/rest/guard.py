"""What stands before every endpoint: the right Host, a body of bearable size, and the administrator's token."""

import hmac
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from mesh.files import NotPrivate, read_private, write_atomic

_log = logging.getLogger("control.rest")

MAX_BODY_BYTES = 20 * 1024 * 1024
OPEN_PATHS = frozenset({"/healthz", "/metrics"})
"""Answered to anyone who reaches the port: alive or not, and counters without names of users or rules."""

HOST_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "remora-control.remora-system.svc"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class UnusableToken(Exception):
    """The administrator's token is there but cannot be used; one line that says what to do."""


def open_token(path: Path) -> str:
    """The administrator's token, made if there is none. Raises UnusableToken, OSError."""
    if not path.exists():
        write_atomic(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    try:
        token = read_private(path).decode("ascii", "replace").strip()
    except NotPrivate as error:
        raise UnusableToken(str(error)) from error
    if len(token) < 32:
        raise UnusableToken(f"{path} holds less than 32 characters; remove it and a new token is made")
    return token


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: App, token: str, hosts: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = HOST_NAMES | hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        headers = scope["headers"]
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        body = await _read_body(headers, receive)
        if body is None:
            await _answer(send, 413, f"the body has more than {MAX_BODY_BYTES} bytes")
            return
        await self._app(scope, _replay(body, receive), send)

    def _refusal(self, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        # Another name for our address would let a page in a browser speak to us as if we were its own server.
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or _without_port(hosts[0]).lower() not in self._hosts:
            return 421, "this is the control plane; call it by its own name"
        if path in OPEN_PATHS:
            return None
        offered = [value for name, value in headers if name == b"authorization"]
        if len(offered) != 1 or not hmac.compare_digest(offered[0], self._expected):
            _log.warning("a call of %s without the administrator's token", path[:200])
            return 401, "the administrator's token is missing or wrong (STATE/admin.token)"
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def _read_body(headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
    """The whole body; None if it is too large."""
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or int(value) > MAX_BODY_BYTES):
            return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
