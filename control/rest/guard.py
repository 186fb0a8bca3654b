"""What stands before every endpoint: the right Host, a body of bearable size, and the administrator's token."""

import asyncio
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from control.rest.console import ConsoleDoor
from mesh.asgi import (
    Application,
    BodyTooLarge,
    ClientGone,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    framing_problem,
    read_body,
    refuse,
)
from mesh.files import NotPrivate, read_private, write_atomic

_log = logging.getLogger("control.rest")

MAX_BODY_BYTES = 20 * 1024 * 1024
BODY_TIMEOUT_S = 60.0
OPEN_PATHS = frozenset({"/healthz", "/metrics"})
"""Answered to anyone who reaches the port: alive or not, and counters without names of users or rules."""

HOST_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "remora-control.remora-system.svc"})


class UnusableToken(Exception):
    """The administrator's token is there but cannot be used; one line that says what to do."""


def open_token(path: Path) -> str:
    """A token of at least 32 characters, made if there is none. Raises UnusableToken, OSError."""
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

    def __init__(
        self,
        app: Application,
        token: str,
        hosts: frozenset[str] = frozenset(),
        readers: Mapping[str, str] = MappingProxyType({}),
        console: ConsoleDoor | None = None,
    ) -> None:
        """`token` opens everything; `readers` are tokens that open one path, for GET, and nothing else; `console`
        knows a cluster's console."""
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._readers = {path: f"Bearer {each}".encode() for path, each in readers.items()}
        self._hosts = HOST_NAMES | hosts
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        refusal = self._misdirected(scope) or await self._unauthorized(scope)
        body = b""
        if refusal is None:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    body = await read_body(scope, receive, MAX_BODY_BYTES)
            except BodyTooLarge as error:
                refusal = 413, str(error)
            except TimeoutError:
                refusal = 408, f"the body did not come within {BODY_TIMEOUT_S:g} s"
            except ClientGone:
                return
        if refusal is not None:
            await refuse(scope, receive, send, *_rendered(*refusal))
            return
        await self._app(scope, _replay(body, receive), send)

    def _misdirected(self, scope: Scope) -> tuple[int, str] | None:
        problem = framing_problem(scope)
        if problem:
            return 400, problem
        headers: Headers = scope["headers"]
        path = scope["path"]
        # Another name for our address would let a page in a browser speak to us as if we were its own server.
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        host = _without_port(hosts[0]).lower() if len(hosts) == 1 else ""
        # A Prometheus in a cluster asks by a pod's address, which nobody can be led to believe is his own.
        if host not in self._hosts and not (path in OPEN_PATHS and _is_address(host)):
            return 421, "this is the control plane; call it by its own name"
        return None

    async def _unauthorized(self, scope: Scope) -> tuple[int, str] | None:
        path, method = scope["path"], scope["method"]
        if path in OPEN_PATHS:
            return None
        headers: Headers = scope["headers"]
        offered = [value for name, value in headers if name == b"authorization"]
        reader = self._readers.get(path) if method in ("GET", "HEAD") else None
        if len(offered) == 1:
            if _is_one_of(offered[0], self._expected, reader):
                return None
            token = _service_account_token(offered[0])
            if self._console is not None and token:
                return await self._console.judge(token, method, path)
        _log.warning("a call of %s without the administrator's token", path[:200])
        return 401, "the administrator's token is missing or wrong (STATE/admin.token)"


def _is_one_of(offered: bytes, expected: bytes, reader: bytes | None) -> bool:
    """Takes the same time whichever it is."""
    is_admin = hmac.compare_digest(offered, expected)
    return hmac.compare_digest(offered, reader or expected) or is_admin


def _service_account_token(offered: bytes) -> str:
    """The token, if it looks like one (a JWT); empty for what the API server need not be asked about."""
    scheme, _, token = offered.partition(b" ")
    looks = scheme.lower() == b"bearer" and token.isascii() and token.count(b".") == 2
    return token.decode("ascii") if looks else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _rendered(status: int, text: str) -> tuple[int, bytes, str, tuple[tuple[bytes, bytes], ...]]:
    challenge = ((b"www-authenticate", b"Bearer"),) if status == 401 else ()
    return status, json.dumps({"error": text}).encode(), "application/json", challenge
