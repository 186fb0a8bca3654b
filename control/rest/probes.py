"""`/livez` and `/readyz`, for whoever decides whether this process gets connections; nothing else is served before.

They are answered to anyone and by any name: a kubelet asks by the pod's address and knows no token.
"""

import json
from collections.abc import Callable, Sequence

from mesh.asgi import Application, Receive, Scope, Send, refuse, respond

LIVE = "/livez"
READY = "/readyz"
ALWAYS = frozenset({"/metrics", "/healthz"})
"""Passed on even while something is missing."""
RETRY_AFTER = ((b"retry-after", b"1"),)


class Probes:
    """An ASGI application before another."""

    def __init__(self, app: Application, missing: Callable[[], Sequence[str]]) -> None:
        """`missing` is what readiness waits for, in a person's words; empty when ready."""
        self._app = app
        self._missing = missing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        path = scope["path"]
        if path in (LIVE, READY):
            if scope["method"] not in ("GET", "HEAD"):
                await refuse(scope, receive, send, 405, b'{"error": "ask by GET"}', "application/json")
            elif path == LIVE:
                await respond(send, 200, b'{"live": true}', "application/json")
            else:
                await self._readiness(send)
            return
        missing = [] if path in ALWAYS else self._missing()
        if missing:
            body = json.dumps({"error": f"not ready; waiting for {', '.join(missing)}"}).encode()
            await refuse(scope, receive, send, 503, body, "application/json", RETRY_AFTER)
            return
        await self._app(scope, receive, send)

    async def _readiness(self, send: Send) -> None:
        missing = list(self._missing())
        body = json.dumps({"ready": not missing, "waiting_for": missing}).encode()
        await respond(send, 503 if missing else 200, body, "application/json", RETRY_AFTER if missing else ())
