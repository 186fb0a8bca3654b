"""What the connections of one filter chain share. Replaced when the chain changes; its connections then drain."""

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.config.listener import Direction, Http
from sidecar.config.snapshot import Node
from sidecar.filters.addon import AddonRules
from sidecar.http.field_lines import NO_FIELDS, FieldLines
from sidecar.http.head import Header
from sidecar.listeners.routes import BoundRoute
from sidecar.net.outbox import Outbox
from sidecar.net.timers import MAX_LOOK_S, TimerWheel
from sidecar.routing.table import RouteTable
from sidecar.tap.taps import Taps, Watch
from sidecar.telemetry.recorder import Telemetry
from sidecar.telemetry.request_id import IdSource
from sidecar.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from sidecar.listeners.connection import DownstreamConnection
    from sidecar.listeners.h2_link import H2Link


class OpenConnections:
    """How many clients' connections the process has, and a way to wait until there is none."""

    def __init__(self) -> None:
        self.count = 0
        self._none = asyncio.Event()
        self._none.set()

    def opened(self) -> None:
        self.count += 1
        self._none.clear()

    def closed(self) -> None:
        self.count -= 1
        if not self.count:
            self._none.set()

    async def wait_for_none(self) -> None:
        """Return when no connection is open."""
        await self._none.wait()


@dataclass(frozen=True, slots=True)
class Process:
    """What every listener of the process shares."""

    loop: asyncio.AbstractEventLoop
    scope: TaskScope
    clock: Clock
    rng: random.Random
    timers: TimerWheel
    outbox: Outbox
    ids: IdSource
    telemetry: Telemetry
    open: OpenConnections
    taps: Taps
    addons: AddonRules


class ListenerCounts:
    """Of one listener, over its filter chains and over changes of its configuration. Names are Envoy's."""

    __slots__ = ("cx_active", "cx_no_chain", "cx_refused", "cx_total", "reported_total")

    def __init__(self) -> None:
        self.cx_total = 0
        self.cx_active = 0
        self.cx_refused = 0
        """TLS handshakes that failed and certificates that were not accepted."""
        self.cx_no_chain = 0
        """Closed because no filter chain takes such a connection, plaintext under STRICT for example."""
        self.reported_total = 0


class HttpContext:
    """An HTTP connection manager. `table` is swapped when routes change; requests keep the route they matched."""

    __slots__ = (
        "_first",
        "answer_lines",
        "config",
        "connections",
        "counts",
        "direction",
        "draining",
        "impatient",
        "in_flight",
        "metadata",
        "node",
        "own_identity",
        "process",
        "server_field",
        "server_line",
        "table",
        "tracer",
        "trust_domains",
        "watch",
    )

    def __init__(
        self,
        config: Http,
        direction: Direction,
        table: RouteTable[BoundRoute],
        counts: ListenerCounts,
        process: Process,
        *,
        node: Node,
        trust_domains: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.direction = direction
        self.table = table
        self.counts = counts
        self.process = process
        self.node = node
        self.metadata: list[Header] = []
        """Fields that tell a mesh peer who we are; sent on mTLS hops only."""
        if node.peer_metadata:
            self.metadata = [
                (b"x-envoy-peer-metadata", node.peer_metadata.encode("ascii")),
                (b"x-envoy-peer-metadata-id", node.id.encode("ascii")),
            ]
        if direction is Direction.INBOUND:
            self._first = (NO_FIELDS, NO_FIELDS)
        else:
            self._first = self._make_more(1)
        self.server_field: Header = (b"server", config.server_name.encode("ascii"))
        self.server_line = b"server: %b\r\n" % self.server_field[1]
        self.answer_lines = b"x-envoy-upstream-service-time: %d\r\n" + self.server_line.replace(b"%", b"%%")
        """To be formatted with the milliseconds."""
        self.own_identity = node.workload.principal if node.workload.principal != "unknown" else None
        self.trust_domains = trust_domains
        self.connections: set[DownstreamConnection | H2Link] = set()
        self.in_flight = 0
        """Requests whose answers are not whole."""
        self.draining = False
        self.impatient = 0 < config.stream_idle_timeout_s < 2 * MAX_LOOK_S
        """The idle time-out is so short that the wheel must be told of each request."""
        self.watch: Watch | None = process.taps.watch(direction)
        """None while nobody taps: all that a request pays for it."""
        self.tracer = Tracer(
            process.ids,
            process.rng,
            config.sampling_percent,
            both_sides=direction is Direction.GATEWAY,
        )

    def _make_more(self, attempt: int) -> tuple[FieldLines, FieldLines]:
        count: Header = (b"x-envoy-attempt-count", b"%d" % attempt)
        return FieldLines([count]), FieldLines([count, *self.metadata])

    def more(self, attempt: int, secure: bool) -> FieldLines:
        """Fields that a request's head gets at the end, on its `attempt`-th try."""
        if attempt == 1 or self.direction is Direction.INBOUND:
            return self._first[secure]
        return self._make_more(attempt)[secure]

    def drain(self) -> None:
        """Idle connections close now, the others with their next answer."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.abort()
