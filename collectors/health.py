"""GET /healthz and GET /metrics of the collector itself, and what components show besides."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collectors.delivery.abandoned import Abandoned
from collectors.delivery.stats import DeliveryStats
from collectors.store import Store
from collectors.telemetry import Telemetry
from mesh.asgi import Receive, Scope, Send, respond
from mesh.clock import Clock

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' format: of a page that is bytes; any other is JSON."""


class Health:
    """The ASGI application."""

    def __init__(
        self,
        store: Store | None,
        telemetry: Telemetry,
        clock: Clock,
        deliveries: Sequence[tuple[str, DeliveryStats]] = (),
        pages: Mapping[str, Callable[[], object]] | None = None,
        *,
        abandoned: Sequence[Abandoned] = (),
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._deliveries = deliveries
        self._pages = pages or {}
        self._abandoned = abandoned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"GET it\n", "text/plain", ((b"allow", b"GET, HEAD"),))
        elif path == "/healthz":
            answer = self._health()
            await respond(send, 200 if answer["ready"] else 503, json.dumps(answer).encode(), "application/json")
        elif path == "/metrics":
            await respond(send, 200, self._telemetry.render(), _TEXT)
        elif path in self._pages:
            page = self._pages[path]()
            if inspect.isawaitable(page):
                page = await page
            if isinstance(page, bytes):
                await respond(send, 200, page, _TEXT)
            else:
                await respond(send, 200, json.dumps(page).encode(), "application/json")
        else:
            there = " and ".join(["/healthz", "/metrics", *self._pages])
            await respond(send, 404, f"there are {there}\n".encode(), "text/plain")

    def _health(self) -> dict[str, Any]:
        """Not ready: somewhere nothing can be acknowledged. A back end that is down does not count while its buffer has
        room."""
        why = [self._store.stats.stalled] if self._store is not None else []
        why += [stats.stalled for _, stats in self._deliveries]
        stalled = "; ".join(one for one in why if one)
        answer: dict[str, Any] = {"ready": not stalled, **({"stalled": stalled} if stalled else {})}
        if self._deliveries:
            answer["exporters"] = {name: self._exporter(stats) for name, stats in self._deliveries}
        if self._abandoned:
            answer["abandoned_buffers"] = [one.describe() for one in self._abandoned]
        return answer

    def _exporter(self, stats: DeliveryStats) -> dict[str, Any]:
        now = self._clock.now()
        shown: dict[str, Any] = {
            "queue_bytes": stats.disk.undelivered_bytes,
            "segments": stats.disk.segments,
            "oldest_age_s": round(max(0.0, now - stats.oldest_time), 3) if stats.oldest_time else 0.0,
            "sent": stats.sent.total(),
            "again": stats.again.total(),
            "refused": stats.refused.total(),
            "dropped": stats.dropped.total(),
            "quarantined_segments": stats.disk.quarantined_segments,
        }
        if stats.stalled:
            shown["stalled"] = stats.stalled
        if stats.failing_since:
            shown["failing_for_s"] = round(max(0.0, now - stats.failing_since), 3)
        if stats.last_error:
            shown["last_error"] = stats.last_error
        return shown
