"""Events on pods, where `kubectl describe pod` shows them. Nothing waits for them, and none is tried twice: the log has
the same line."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from mesh.clock import Clock
from remora.node.metrics import Metrics

_log = logging.getLogger("remora.node")

EVENTS = ApiResource("", "v1", "events")
SOURCE = "remora-node-agent"
MAX_WAITING = 100
MAX_MESSAGE_CHARACTERS = 1000
"""Kubernetes takes 1,024."""


@dataclass(frozen=True, slots=True)
class Warned:
    """One event to be."""

    namespace: str
    name: str
    uid: str
    reason: str
    message: str


class Events:
    """`run` it in a TaskScope."""

    def __init__(self, client: KubeClient, node: str, clock: Clock, metrics: Metrics) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._metrics = metrics
        self._waiting: asyncio.Queue[Warned] = asyncio.Queue(MAX_WAITING)
        self._said_forbidden = False
        self._number = 0

    def warn(self, event: Warned) -> None:
        """At once; what does not fit in is counted as lost."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._metrics.events_lost.inc()

    async def run(self) -> None:
        """For ever."""
        while True:
            event = await self._waiting.get()
            try:
                await self._client.create(EVENTS, self._document(event), event.namespace)
            except ApiError as error:
                self._metrics.events_lost.inc()
                if not (error.forbidden and self._said_forbidden):
                    _log.warning("an event on pod %s/%s is not written: %s", event.namespace, event.name, error)
                self._said_forbidden = self._said_forbidden or error.forbidden

    def _document(self, event: Warned) -> dict[str, Any]:
        now = self._clock.now()
        at = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._number += 1
        # As client-go names them: the time makes the name its own.
        name = f"{event.name[:200]}.{int(now * 1e9):x}{self._number:x}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": event.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": event.namespace,
                "name": event.name,
                "uid": event.uid,
            },
            "reason": event.reason,
            "message": event.message[:MAX_MESSAGE_CHARACTERS],
            "type": "Warning",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "source": {"component": SOURCE, "host": self._node},
            "reportingComponent": SOURCE,
            "reportingInstance": self._node,
        }
