"""What many requests share, worked out once: connection, route and cluster, endpoint, peer.

Each binding holds its part of an access-log entry as packed bytes and the way to its metric series, so that finishing
a request looks up no label.
"""

from typing import TYPE_CHECKING

from mesh.records import Workload
from sidecar.config.cluster import Service
from sidecar.config.listener import Direction

if TYPE_CHECKING:
    from sidecar.telemetry.series import Labels


class Source:
    """Who calls, as a destination's metrics tell it: proven identity and what its sidecar said of itself."""

    __slots__ = ("entry", "workload")

    def __init__(self, workload: Workload, entry: bytes) -> None:
        self.workload = workload
        self.entry = entry


class Downstream:
    """One client connection. Made by Telemetry.downstream."""

    __slots__ = (
        "access_log", "direction", "entry", "local", "mutual_tls", "peer_metadata", "principal", "remote", "source",
        "trace",
    )  # fmt: skip

    def __init__(
        self, direction: Direction, local: str, remote: str, principal: str | None, entry: bytes, source: Source
    ) -> None:
        self.direction = direction
        self.local = local
        self.remote = remote
        self.principal = principal
        self.mutual_tls = principal is not None
        self.entry = entry
        self.source = source
        """Whom the last request's metadata named; a connection's metadata seldom changes."""
        self.peer_metadata: bytes | None = None
        """The metadata that `source` was read from."""
        self.access_log = True
        self.trace = True


class Target:
    """A route together with the cluster that it chose. Made by Telemetry.target when a snapshot is applied."""

    __slots__ = ("cluster", "entry", "route", "series", "service")

    def __init__(self, route: str, cluster: str | None, service: Service, entry: bytes) -> None:
        self.route = route
        self.cluster = cluster
        self.service = service
        self.entry = entry
        self.series: dict[tuple[Source, bool], Labels] = {}
        """Where no endpoint's labels decide: by who calls, and whether mutual TLS proved it."""


class Upstream:
    """One endpoint of a cluster. Made by Telemetry.upstream."""

    __slots__ = ("address", "entry", "labels", "principal", "workload")

    def __init__(self, address: str, workload: Workload, principal: str | None, entry: bytes, labels: "Labels") -> None:
        self.address = address
        self.workload = workload
        self.principal = principal
        self.entry = entry
        self.labels = labels
