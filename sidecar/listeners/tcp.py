"""A TCP proxy: what the relayed connections of one filter chain share. The relay itself is `tcp_relay`."""

from typing import TYPE_CHECKING, Final

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.original import OriginalCluster
from sidecar.clusters.table import PreparedClusters
from sidecar.config.listener import Direction, Tcp
from sidecar.config.snapshot import Node
from sidecar.listeners.context import ListenerCounts, Process
from sidecar.net.timers import NEVER
from sidecar.routing.weights import WeightedPicker
from sidecar.telemetry.bindings import Target
from sidecar.telemetry.recorder import Telemetry

if TYPE_CHECKING:
    from sidecar.listeners.tcp_relay import TcpConnection

DRAIN_S: Final = 600.0
"""Connections of a filter chain that is gone may go on so long (Envoy `--drain-time-s`)."""


class TcpChoice:
    """One of a TCP proxy's targets."""

    __slots__ = ("cluster", "original", "target")

    def __init__(self, cluster: LiveCluster | None, target: Target) -> None:
        original = cluster if isinstance(cluster, OriginalCluster) else None
        self.cluster = cluster if original is None else None
        """None: the snapshot has no such cluster, or ..."""
        self.original = original
        """... it goes where the client meant to."""
        self.target = target


TcpTargets = WeightedPicker[TcpChoice]


def bind_targets(config: Tcp, clusters: PreparedClusters, telemetry: Telemetry) -> TcpTargets:
    """The targets' clusters. Raises ValueError for weights that can not be drawn by."""
    choices: list[tuple[TcpChoice, int]] = []
    for each in config.targets:
        found = clusters.get(each.cluster)
        cluster = None if found is None else found.live
        target = telemetry.target("", None if found is None else found.config)
        choices.append((TcpChoice(cluster, target), each.weight))
    return WeightedPicker(choices)


class TcpContext:
    """A filter chain's TCP proxy. `targets` is swapped when clusters change; a connection keeps the one it drew."""

    def __init__(
        self,
        config: Tcp,
        direction: Direction,
        targets: TcpTargets,
        counts: ListenerCounts,
        process: Process,
        *,
        node: Node,
        trust_domains: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.direction = direction
        self.targets = targets
        self.counts = counts
        self.process = process
        self.node = node
        self.trust_domains = trust_domains
        self.connections: set[TcpConnection] = set()
        self.draining = False
        self.deadline = NEVER
        self.look_at = NEVER

    def drain(self) -> None:
        """No connections come any more. Those that are there can not be told to end: they may, for DRAIN_S."""
        if not self.draining:
            self.draining = True
            now = self.process.clock.monotonic()
            self.deadline = now + DRAIN_S
            self.process.timers.watch(self, now)

    def expired(self, now: float) -> None:
        """The time to drain is over."""
        self.abort()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.abort()
