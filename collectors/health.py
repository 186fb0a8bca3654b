"""GET /healthz and GET /metrics of the collector itself."""

import json

from collectors.store import Store
from collectors.telemetry import Telemetry
from mesh.asgi import Receive, Scope, Send, respond


class Health:
    """The ASGI application."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"GET it\n", "text/plain", ((b"allow", b"GET, HEAD"),))
        elif scope["path"] == "/healthz":
            stalled = self._store.stats.stalled
            body = json.dumps({"ready": not stalled, **({"stalled": stalled} if stalled else {})}).encode()
            await respond(send, 503 if stalled else 200, body, "application/json")
        elif scope["path"] == "/metrics":
            await respond(send, 200, self._telemetry.render(), "text/plain; version=0.0.4; charset=utf-8")
        else:
            await respond(send, 404, b"there are /healthz and /metrics\n", "text/plain")
