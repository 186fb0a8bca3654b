"""What many requests share, worked out once: connection, peer, route and cluster, endpoint.

Each binding holds its part of an access-log entry as packed bytes and the way to its metric series, so that finishing
a request looks up no label. Telemetry makes them; the proxy only carries them.
"""

from mesh.records import Workload
from sidecar.config.cluster import Service
from sidecar.config.listener import Direction
from sidecar.telemetry.series import Labels


class Source:
    """Who calls, as the destination's metrics tell it: proven identity, and what its sidecar said of itself."""

    __slots__ = ("workload",)

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        """`principal` is "unknown" where mutual TLS proved none."""


class Downstream:
    """One client connection."""

    __slots__ = (
        "access_log", "direction", "entry", "inbound", "peer_metadata", "principal", "remote", "source", "trace",
    )  # fmt: skip

    def __init__(
        self,
        direction: Direction,
        remote: str,
        principal: str | None,
        entry: bytes,
        source: Source,
        access_log: bool,
        trace: bool,
    ) -> None:
        self.direction = direction
        self.inbound = direction is Direction.INBOUND
        self.remote = remote
        self.principal = principal
        """The SPIFFE URI that mutual TLS proved; None: plaintext, or TLS without a client certificate."""
        self.entry = entry
        self.source = source
        """Whom the last request's metadata named; a connection's metadata seldom changes."""
        self.peer_metadata: bytes | None = None
        """The metadata that `source` was read from."""
        self.access_log = access_log
        self.trace = trace


class Target:
    """A route together with the cluster that it chose."""

    __slots__ = ("cluster", "entry", "labels", "route", "service", "sources")

    def __init__(self, route: str, cluster: str | None, service: Service, entry: bytes, labels: Labels) -> None:
        self.route = route
        self.cluster = cluster
        self.service = service
        self.entry = entry
        self.labels = labels
        """Outbound, where no endpoint was chosen."""
        self.sources: dict[Source, Labels] = {}
        """Inbound: by who calls."""


class Upstream:
    """One endpoint of a cluster."""

    __slots__ = ("address", "entry", "labels", "workload")

    def __init__(self, address: str, workload: Workload, entry: bytes, labels: Labels) -> None:
        self.address = address
        self.workload = workload
        self.entry = entry
        self.labels = labels
        """Outbound."""
