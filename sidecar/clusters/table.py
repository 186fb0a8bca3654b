"""All clusters by name. A snapshot is prepared first, which may fail, and then committed, which may not."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Security, Surroundings
from sidecar.clusters.original import OriginalCluster
from sidecar.clusters.resolver import Resolver
from sidecar.clusters.secrets import Secrets
from sidecar.config.cluster import Cluster, Discovery, Protocol, UpstreamTls
from sidecar.config.messages import Growth, Reading
from sidecar.net.tls import UnusableSecret


class UnusableCluster(Exception):
    """A cluster that cannot be used: `name`, the field's `path`, and why."""

    def __init__(self, name: str, path: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PreparedCluster:
    """A cluster of the snapshot to come: the one that serves already, or a new one that nobody uses yet."""

    live: LiveCluster
    config: Cluster
    security: Security | None


class PreparedClusters:
    """Clusters of a snapshot, for routes to be bound to before any of it serves."""

    def __init__(self, clusters: dict[str, PreparedCluster]) -> None:
        self.clusters = clusters

    def get(self, name: str) -> PreparedCluster | None:
        return self.clusters.get(name)

    def identities(self, names: Iterable[str]) -> tuple[tuple[str, object], ...]:
        """What routes to these clusters depend on."""
        return tuple((name, self._identity(name)) for name in sorted(set(names)))

    def unchanged(self, identities: tuple[tuple[str, object], ...]) -> bool:
        """Routes bound when `identities` were taken may stay."""
        return all(self._identity(name) == identity for name, identity in identities)

    def _identity(self, name: str) -> object:
        found = self.clusters.get(name)
        return None if found is None else (id(found.live), found.config.service)


class ClusterTable:
    """Owns the live clusters."""

    def __init__(self, around: Surroundings, rng: random.Random) -> None:
        self._around = around
        self._rng = rng
        self._live: dict[str, LiveCluster] = {}
        self._resolver = Resolver(around)

    def get(self, name: str) -> LiveCluster | None:
        return self._live.get(name)

    @property
    def clusters(self) -> tuple[LiveCluster, ...]:
        return tuple(self._live.values())

    def prepare(self, clusters: tuple[Cluster, ...], secrets: Secrets) -> PreparedClusters:
        """Build what can fail. Raises UnusableCluster; nothing has changed then."""
        prepared: dict[str, PreparedCluster] = {}
        for config in clusters:
            if config.name in prepared:
                raise UnusableCluster(config.name, "name", "two clusters have this name")
            security = None
            if config.tls is not None:
                try:
                    security = secrets.upstream(_offering(config.tls, config.protocol))
                except UnusableSecret as error:
                    raise UnusableCluster(config.name, "transport_socket", str(error)) from error
            kind = OriginalCluster if config.discovery is Discovery.ORIGINAL else LiveCluster
            live = self._live.get(config.name)
            if live is None or type(live) is not kind:
                live = kind(config, security, self._around, self._rng)
            prepared[config.name] = PreparedCluster(live, config, security)
        return PreparedClusters(prepared)

    def commit(self, prepared: PreparedClusters) -> None:
        """Make it so."""
        former = self._live
        present: dict[str, LiveCluster] = {}
        for name, each in prepared.clusters.items():
            each.live.update(each.config, each.security)
            present[name] = each.live
        self._live = present
        for name, live in former.items():
            if present.get(name) is not live:
                live.retire()
        self._resolver.follow([live for live in present.values() if live.config.discovery is Discovery.DNS])

    def close(self) -> None:
        """Close idle connections and stop resolving names."""
        for live in self._live.values():
            live.retire()
        self._resolver.follow(())

    async def warm(self, within_s: float) -> None:
        """Wait until every DNS cluster was resolved once, or `within_s` have passed."""
        await self._resolver.settled(within_s)

    def growth(self) -> list[Growth]:
        """Counters that grew since the last call."""
        grown: list[Growth] = []
        for live in self._live.values():
            labels = (("envoy_cluster_name", live.name),)
            grown += [Growth(metric, labels, by) for metric, by in live.counts.growth().items()]
            if live.ejections is not None:
                outlier = live.ejections.detector.counts
                grown += [Growth(metric, labels, by) for metric, by in outlier.growth().items()]
        return grown

    def readings(self) -> list[Reading]:
        """Gauges of clusters that have been used, and of those that detect outliers."""
        return [reading for live in self._live.values() for reading in _readings(live)]


def _readings(live: LiveCluster) -> list[Reading]:
    values: dict[str, int] = {}
    if live.counts.cx_total or live.counts.rq_total:
        values["upstream_cx_active"] = live.counts.cx_active
        values["upstream_rq_active"] = live.counts.rq_active
    if live.ejections is not None:
        values["outlier_detection_ejections_active"] = live.ejections.detector.active
    if not values:
        return []
    endpoints = live.endpoints
    values["membership_total"] = len(endpoints)
    values["membership_healthy"] = sum([each.healthy for each in endpoints])
    # What is reported DEGRADED is used as what is healthy, and no endpoint is left out of the balancers' sums.
    values["membership_degraded"] = values["membership_excluded"] = 0
    labels = (("envoy_cluster_name", live.name),)
    return [Reading(f"envoy_cluster_{name}", labels, float(value)) for name, value in values.items()]


def _offering(tls: UpstreamTls, protocol: Protocol) -> UpstreamTls:
    """Where the configuration names no ALPN, what is spoken is offered, as Envoy does."""
    if tls.alpn or protocol is Protocol.HTTP1:
        return tls
    return replace(tls, alpn=("h2",) if protocol is Protocol.HTTP2 else ("h2", "http/1.1"))
