"""Every request's telemetry in one call: metrics, access log, spans; flushed as messages for the agent. No I/O."""

from collections.abc import Sequence

from mesh.clock import Clock
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Endpoint
from sidecar.config.listener import Direction
from sidecar.config.messages import AccessLog, Growth, Metrics, Reading, Spans
from sidecar.config.snapshot import Node
from sidecar.telemetry.bindings import Downstream, Target, Upstream
from sidecar.telemetry.record import RequestRecord


class Telemetry:
    """One per worker. `use_node` before the first request and whenever a snapshot brings another node."""

    def __init__(self, node: Node, epoch: str, clock: Clock) -> None:
        raise NotImplementedError

    def use_node(self, node: Node) -> None:
        """Whose sidecar this is; bindings made before keep the former labels."""

    def downstream(
        self,
        direction: Direction,
        local: str,
        remote: str,
        *,
        principal: str | None = None,
        server_name: str | None = None,
        access_log: bool = True,
        trace: bool = True,
    ) -> Downstream:
        """A connection was accepted. `local` and `remote` are "HOST:PORT"; `principal` is the SPIFFE URI that mutual
        TLS proved, `server_name` the SNI."""
        raise NotImplementedError

    def target(self, route: str, cluster: Cluster | None) -> Target:
        """A route and one of the clusters that it may choose; None: it answers by itself."""
        raise NotImplementedError

    def upstream(self, cluster: Cluster, endpoint: Endpoint, *, secure: bool) -> Upstream:
        """An endpoint; `secure`: reached by mutual TLS. Costs little when asked again for an equal one."""
        raise NotImplementedError

    def finish(self, record: RequestRecord, now: float) -> None:
        """The request is over; `now` is of the monotonic clock. Exactly once per record."""
        raise NotImplementedError

    def flush(
        self, counters: Sequence[Growth] = (), gauges: Sequence[Reading] = ()
    ) -> list[Metrics | AccessLog | Spans]:
        """What came together since the last flush, with others' counters and gauges beside ours. Call once a second, or
        when `full` says so."""
        raise NotImplementedError
