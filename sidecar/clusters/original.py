"""A cluster whose endpoint is wherever the client's redirected connection was going (Envoy ORIGINAL_DST).

Each address that clients meant is a cluster of one endpoint, with a pool of its own, made when it is first wanted and
forgotten when nobody uses it any more; limits and counters are those of the whole. Addresses are clients' to choose, so
there are MAX_DESTINATIONS of them at most.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Security, Surroundings
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.config.cluster import Cluster, Protocol
from sidecar.config.endpoint import Address, Endpoint
from sidecar.net.timers import NEVER

MAX_DESTINATIONS: Final = 4096
"""Of one cluster at once; the next is refused as by a circuit breaker, unless one is idle and can go."""

_SWEEP_S: Final = 1.0
"""When all are busy, another look for idle ones is worth it only after this long."""

_Key = tuple[Address, bool]
"""Where to, and whether in HTTP/2 by choice of the client."""


class _Destination:
    """Where clients went. `used`: since the wheel looked last."""

    __slots__ = ("cluster", "used")

    def __init__(self, cluster: LiveCluster) -> None:
        self.cluster = cluster
        self.used = True


class OriginalCluster(LiveCluster):
    """`to` gives the cluster of one destination; by itself it has no endpoint to pick."""

    def __init__(self, config: Cluster, security: Security | None, around: Surroundings, rng: random.Random) -> None:
        super().__init__(config, security, around, rng)
        self._destinations: dict[_Key, _Destination] = {}
        self._swept_at = -_SWEEP_S
        self.deadline = NEVER
        self.look_at = NEVER

    @property
    def endpoints(self) -> Sequence[LiveEndpoint]:
        return tuple([endpoint for each in self._destinations.values() for endpoint in each.cluster.endpoints])

    def to(self, destination: Address, http2: bool) -> LiveCluster | None:
        """The one endpoint there; None: there are too many. `http2`: the client speaks HTTP/2."""
        key = (destination, http2 and self.config.protocol is Protocol.DOWNSTREAM)
        found = self._destinations.get(key)
        if found is None:
            if len(self._destinations) >= MAX_DESTINATIONS and not self._make_room():
                self.counts.rq_overflow += 1
                return None
            config = _towards(self.config, key)
            cluster = LiveCluster(config, self._security, self._around, self._rng, self.counts)
            found = self._destinations[key] = _Destination(cluster)
            self._watch(self._around.clock.monotonic())
        found.used = True
        return found.cluster

    def update(self, config: Cluster, security: Security | None) -> None:
        if config == self.config and security == self._security:
            return
        super().update(config, security)
        for key, each in self._destinations.items():
            each.cluster.update(_towards(config, key), security)

    def retire(self) -> None:
        """The cluster is gone from the configuration: idle connections close, requests finish."""
        self.deadline = NEVER
        for each in self._destinations.values():
            each.cluster.retire()

    # who is forgotten

    def expired(self, now: float) -> None:
        """The wheel looks: forget where nobody has gone since its last look, and where no connection is open."""
        for key, each in list(self._destinations.items()):
            if each.used:
                each.used = False
            elif not any(endpoint.active or endpoint.connections for endpoint in each.cluster.endpoints):
                each.cluster.retire()
                del self._destinations[key]
        self.deadline = NEVER
        if self._destinations:
            self._watch(now)

    def _watch(self, now: float) -> None:
        if self.deadline == NEVER:
            self.deadline = now + self.config.cleanup_s
            self._around.timers.watch(self, now)

    def _make_room(self) -> bool:
        """Forget those that have nothing under way, whatever idle connections they keep."""
        now = self._around.clock.monotonic()
        if now < self._swept_at + _SWEEP_S:
            return False
        self._swept_at = now
        for key, each in list(self._destinations.items()):
            if not any(endpoint.active for endpoint in each.cluster.endpoints):
                each.cluster.retire()
                del self._destinations[key]
        return len(self._destinations) < MAX_DESTINATIONS


def _towards(config: Cluster, key: _Key) -> Cluster:
    destination, http2 = key
    protocol = config.protocol
    if protocol is Protocol.DOWNSTREAM:
        protocol = Protocol.HTTP2 if http2 else Protocol.HTTP1
    return replace(config, endpoints=(Endpoint(destination),), protocol=protocol)
