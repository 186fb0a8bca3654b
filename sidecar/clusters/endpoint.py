"""One endpoint as it is used: its configuration, its pool, how busy it is."""

from sidecar.clusters.ejections import Monitor
from sidecar.clusters.pool import Pool
from sidecar.clusters.raw_pool import RawPool
from sidecar.config.endpoint import Endpoint
from sidecar.telemetry.bindings import Upstream


class LiveEndpoint:
    """What a balancer picks from. Survives snapshots as long as its address and TLS identity stay."""

    __slots__ = ("_tunnels", "active", "binding", "config", "outlier", "pool", "secure")

    def __init__(self, config: Endpoint, pool: Pool) -> None:
        self.config = config
        self.pool = pool
        self.secure = pool.security is not None
        """Requests reach it through TLS."""
        self._tunnels: Pool | None = None
        self.active = 0
        """Requests that have it picked and are not over."""
        self.binding: Upstream | None = None
        """The endpoint as telemetry knows it, once a request has asked."""
        self.outlier: Monitor | None = None
        """Whom to tell how requests go, where the cluster detects outliers."""

    @property
    def healthy(self) -> bool:
        """Not reported unhealthy, and not ejected."""
        outlier = self.outlier
        return self.config.healthy and (outlier is None or not outlier.ejected)

    def tunnels(self) -> Pool:
        """The pool of connections that carry a CONNECT's bytes; made when the first is wanted."""
        tunnels = self._tunnels
        if tunnels is None:
            tunnels = self._tunnels = self.pool.beside(RawPool)
        else:
            tunnels.follow(self.pool)
        return tunnels

    @property
    def connections(self) -> int:
        """Open to it, those that carry tunnels included."""
        return self.pool.open + (0 if self._tunnels is None else self._tunnels.open)

    def reconfigure(self, config: Endpoint) -> None:
        """The same endpoint with another weight, health or workload."""
        self.config = config
        self.binding = None

    def __repr__(self) -> str:
        return f"<LiveEndpoint {self.config.address} {self.active} active>"
