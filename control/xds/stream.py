"""One connected proxy: its subscription, and how far it has come, as `remora status` shows it."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from control.ca.peer import Peer
from control.generate.python_filters import for_envoy
from control.generate.types import Snapshot
from control.xds.messages import SHORT, Request, Response
from control.xds.metrics import DiscoveryMetrics
from control.xds.subscription import Accepted, Refused, Subscription

MAX_MESSAGE = 2048
"""Characters kept of what a proxy says about its refusal."""

_NACK = re.compile(
    r"(?:CDS|EDS|LDS|RDS|SDS|RTDS) (?P<resource>\S+): (?:(?P<path>[A-Za-z_][\w.\[\]\"]*): )?(?P<why>.*)", re.S
)
"""How our sidecar words it. Envoy's words have no form; they are shown whole."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a proxy does not take. `at` is seconds since the epoch."""

    type: str
    path: str
    message: str
    at: float


@dataclass(slots=True)
class _Offer:
    version: str
    snapshot: Snapshot
    since: float
    """Monotonic; when the change happened."""
    settled: bool = False


def workload_key(node_id: str) -> tuple[str, str]:
    """The namespace and name of the workload that a node says it is; empty if it says none."""
    parts = node_id.split("~")
    name, _, namespace = parts[2].rpartition(".") if len(parts) == 4 else ("", "", "")
    return namespace, name


class Stream:
    """State only; the server moves the bytes. `wake` is set when there may be something to send."""

    def __init__(
        self, name: str, node_id: str, peer: Peer, since: float, metrics: DiscoveryMetrics, *, ours: bool = True
    ) -> None:
        self.node_id = node_id
        self.ours = ours
        """A sidecar of ours; a real Envoy knows nothing of what is Remora's own."""
        self.peer = peer
        self.identity = str(peer.identity)
        self.workload_key = workload_key(node_id)
        self.admitted_as: object = None
        """The workload of which it is known that the peer is it; another object is to be looked at again."""
        self.connected_since = since
        """Seconds since the epoch."""
        self.wake = asyncio.Event()
        self.closing: str | None = None
        """Why the stream is to end; set by whoever decides so."""
        self.subscription = Subscription(name)
        self.sent_version: str | None = None
        self.acked_version: str | None = None
        self.pushes = 0
        self.last_push_ms: float | None = None
        self._metrics = metrics
        self._offer: _Offer | None = None
        self._rejections: dict[str, Rejection] = {}

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """What stands refused now."""
        return tuple(self._rejections.values())

    @property
    def types(self) -> Mapping[str, dict[str, str | None]]:
        """By short name: the version last sent and the one that the proxy runs."""
        return {
            SHORT[url]: {"sent": state.sent, "acked": state.acked} for url, state in self.subscription.types.items()
        }

    @property
    def answered(self) -> bool:
        """Whether the proxy runs, or refuses, a whole configuration of ours."""
        return self.acked_version is not None or bool(self._rejections)

    def close(self, reason: str) -> None:
        """End the stream soon."""
        self.closing = self.closing or reason
        self.wake.set()

    def offer(self, version: str, snapshot: Snapshot, since: float) -> None:
        """A new plan. One that changes nothing for this proxy only renames what it runs."""
        if not self.ours:
            snapshot = for_envoy(snapshot)
        offered = self._offer
        if offered is not None and offered.snapshot == snapshot:
            offered.version = version
            if offered.settled:
                self.sent_version = self.acked_version = version
            return
        self._offer = _Offer(version, snapshot, since)
        self.subscription.offer(snapshot)
        self.wake.set()

    def receive(self, request: Request, now: float, wall: float) -> None:
        """Take a request. Raises UnknownType."""
        event = self.subscription.receive(request, now)
        match event:
            case Accepted():
                self._rejections.pop(event.type_url, None)
            case Refused():
                self._rejections[event.type_url] = _rejection(event, wall)
                self._metrics.rejects.inc()
                self._metrics.rejects_by_type[event.type_url].inc()
        self.wake.set()

    def take(self, now: float) -> Response | None:
        """What to send now."""
        response = self.subscription.next(now)
        if response is not None:
            self.pushes += 1
            self._metrics.pushes[response.type_url].inc()
            if self._offer is not None:
                self.sent_version = self._offer.version
        elif self._offer is not None and not self._offer.settled and self.subscription.synced:
            self._settle(self._offer, now)
        return response

    def _settle(self, offer: _Offer, now: float) -> None:
        offer.settled = True
        self.sent_version = self.acked_version = offer.version
        self.last_push_ms = (now - offer.since) * 1000
        self._metrics.convergence.observe(now - offer.since)


def _rejection(event: Refused, wall: float) -> Rejection:
    message = event.message[:MAX_MESSAGE]
    found = _NACK.fullmatch(message)
    if found is None:
        return Rejection(SHORT[event.type_url], "", message, wall)
    path = f"{found['resource']}: {found['path']}" if found["path"] else found["resource"]
    return Rejection(SHORT[event.type_url], path, found["why"], wall)
