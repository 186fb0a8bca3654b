"""One endpoint as it is used: its configuration, its pool, how busy it is."""

from sidecar.clusters.pool import Pool
from sidecar.config.endpoint import Endpoint


class LiveEndpoint:
    """What a balancer picks from. Survives snapshots as long as its address and TLS identity stay."""

    __slots__ = ("active", "config", "pool")

    def __init__(self, config: Endpoint, pool: Pool) -> None:
        self.config = config
        self.pool = pool
        self.active = 0
        """Requests that have it picked and are not over."""

    @property
    def secure(self) -> bool:
        """Requests reach it through TLS."""
        return self.pool.security is not None

    def __repr__(self) -> str:
        return f"<LiveEndpoint {self.config.address} {self.active} active>"
