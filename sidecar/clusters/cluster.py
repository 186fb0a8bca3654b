"""One cluster as it is used: endpoints with their pools, a balancer over them, counters. Updated in place."""

import random
from collections.abc import Sequence

from sidecar.clusters.balancers import Balancer
from sidecar.clusters.counts import ClusterCounts
from sidecar.clusters.dial import Security, Surroundings
from sidecar.clusters.ejections import Ejections, Monitor
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.clusters.h2_pool import H2Pool
from sidecar.clusters.pool import Pool
from sidecar.clusters.priorities import make_choice
from sidecar.config.cluster import Cluster, Discovery, Protocol
from sidecar.config.endpoint import Address, Endpoint


class LiveCluster:
    """Routes of every snapshot that names it share it, so that its pools outlive a change of rules."""

    def __init__(
        self,
        config: Cluster,
        security: Security | None,
        around: Surroundings,
        rng: random.Random,
        counts: ClusterCounts | None = None,
    ) -> None:
        """`counts`: those of the cluster that it is a part of."""
        self.config = config
        self.name = config.name
        self.counts = counts or ClusterCounts()
        self._security = security
        self._around = around
        self._rng = rng
        self._endpoints: dict[tuple[Address, bool], LiveEndpoint] = {}
        self._resolved: tuple[Endpoint, ...] | None = None
        self.ejections: Ejections | None = None
        """Where the configuration asks for outlier detection."""
        self._balancer: Balancer[LiveEndpoint] = make_choice(config, (), rng)
        self._use(() if config.discovery is Discovery.DNS else config.endpoints)

    @property
    def endpoints(self) -> Sequence[LiveEndpoint]:
        return tuple(self._endpoints.values())

    def pick(self, tried: Sequence[LiveEndpoint] = ()) -> LiveEndpoint | None:
        """The balancer's choice, another than those `tried` where there is one; None without usable endpoints."""
        return self._balancer.pick(tried)

    def update(self, config: Cluster, security: Security | None) -> None:
        """Take over a new configuration. What is equal stays as it is; what is gone finishes and closes."""
        if config == self.config and security == self._security:
            return
        if security != self._security or config.protocol is not self.config.protocol:
            self._security = security
            for endpoint in self._endpoints.values():
                endpoint.pool.retire()
            self._endpoints = {}
        self.config = config
        # Former addresses of a DNS cluster serve until its names, which may be other ones now, are resolved again.
        self._use(self._resolved or () if config.discovery is Discovery.DNS else config.endpoints)

    def resolved(self, endpoints: tuple[Endpoint, ...]) -> None:
        """A DNS cluster's names stand for these addresses now."""
        if endpoints != self._resolved and self.config.discovery is Discovery.DNS:
            self._resolved = endpoints
            self._use(endpoints)

    def _use(self, endpoints: Sequence[Endpoint]) -> None:
        former = self._endpoints
        present: dict[tuple[Address, bool], LiveEndpoint] = {}
        for config in endpoints:
            security = self._security_of(config)
            key = (config.address, security is not None)
            if key in present:
                continue
            live = former.pop(key, None)
            if live is None:
                live = LiveEndpoint(config, self._pool(config.address, security))
            else:
                live.reconfigure(config)
                live.pool.reconfigure(self.config)
            present[key] = live
        self._endpoints = present
        for live in former.values():
            live.pool.retire()
        self._detect()
        self._balance()

    def _detect(self) -> None:
        """Outliers among the present endpoints, or none."""
        config = self.config.outlier
        ejections = self.ejections
        if config is None:
            if ejections is not None:
                ejections.close()
                self.ejections = None
                for live in self._endpoints.values():
                    live.outlier = None
            return
        if ejections is None:
            ejections = self.ejections = Ejections(self.name, config, self._around, self._rng, self._balance)
        monitors: list[Monitor] = []
        for live in self._endpoints.values():
            monitor = live.outlier
            if monitor is None:
                monitor = live.outlier = Monitor(ejections, live.config.address)
            monitors.append(monitor)
        ejections.follow(config, monitors)

    def _balance(self) -> None:
        """Endpoints, or their health, are others now."""
        self._balancer = make_choice(self.config, tuple(self._endpoints.values()), self._rng)

    def _pool(self, address: Address, security: Security | None) -> Pool:
        protocol = self.config.protocol
        # Without TLS nothing chooses a protocol: HTTP/1.1 is what everybody speaks.
        if protocol is Protocol.HTTP2 or (protocol is Protocol.AUTO and security is not None):
            return H2Pool(address, security, self.config, self.counts, self._around)
        return Pool(address, security, self.config, self.counts, self._around)

    def _security_of(self, endpoint: Endpoint) -> Security | None:
        tls = self.config.tls
        if tls is None or (tls.only_where_offered and not endpoint.tls):
            return None
        return self._security

    def retire(self) -> None:
        """The cluster is gone from the configuration: idle connections close, requests finish."""
        if self.ejections is not None:
            self.ejections.close()
        for live in self._endpoints.values():
            live.pool.retire()

    def __repr__(self) -> str:
        return f"<LiveCluster {self.name} {len(self._endpoints)} endpoints>"
