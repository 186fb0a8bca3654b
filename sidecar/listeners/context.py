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
from sidecar.overload.load import Load
from sidecar.routing.table import RouteTable
from sidecar.tap.taps import Taps, Watch
from sidecar.telemetry.recorder import Telemetry
from sidecar.telemetry.request_id import IdSource
from sidecar.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from sidecar.listeners.connection import DownstreamConnection
    from sidecar.listeners.h2_link import H2Link


class OpenConnections:
    """How many clients' connections the process has, those included that shake hands or have not said yet what they
    are, and a way to wait until there is none."""

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
        while self.count:
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
    load: Load


COUNTERS = (
    ("cx_total", "envoy_listener_downstream_cx_total"),
    ("cx_overflow", "envoy_listener_downstream_cx_overflow"),
    ("cx_global_overflow", "envoy_listener_downstream_global_cx_overflow"),
    ("cx_shed", "remora_listener_cx_shed_total"),
    ("cx_loop", "remora_listener_cx_loop_total"),
    ("cx_idle", "envoy_http_downstream_cx_idle_timeout"),
    ("cx_spent", "envoy_http_downstream_cx_max_requests_reached"),
    ("cx_old", "envoy_http_downstream_cx_max_duration_reached"),
    ("rq_head_late", "envoy_http_downstream_rq_header_timeout"),
    ("rq_late", "envoy_http_downstream_rq_timeout"),
    ("rq_idle", "envoy_http_downstream_rq_idle_timeout"),
    ("rq_long", "envoy_http_downstream_rq_max_duration_reached"),
    ("rq_shed", "envoy_http_downstream_rq_overload_close"),
    ("upgrades", "envoy_http_downstream_cx_upgrades_total"),
    ("paused", "envoy_http_downstream_flow_control_paused_reading_total"),
)
"""A listener's counters and their metrics."""


class ListenerCounts:
    """Of one listener, over its filter chains and over changes of its configuration. Metrics' names are Envoy's."""

    __slots__ = (
        "_reported",
        "cx_active",
        "cx_global_overflow",
        "cx_idle",
        "cx_loop",
        "cx_no_chain",
        "cx_old",
        "cx_overflow",
        "cx_refused",
        "cx_shed",
        "cx_spent",
        "cx_total",
        "paused",
        "rq_head_late",
        "rq_idle",
        "rq_late",
        "rq_long",
        "rq_shed",
        "upgrades",
    )

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        self.cx_total = 0
        self.cx_active = 0
        self.cx_refused = 0
        """TLS handshakes that failed and certificates that were not accepted."""
        self.cx_no_chain = 0
        """Closed because no filter chain takes such a connection, plaintext under STRICT for example."""
        self.cx_loop = 0
        """Closed because they were going to the listener itself: nothing redirected them, or they would come back."""
        self.cx_overflow = 0
        """Closed at once since the listener, or ..."""
        self.cx_global_overflow = 0
        """... the process has all the connections that it may."""
        self.cx_shed = 0
        """Closed at once since there was no descriptor for them."""
        self.cx_idle = 0
        """Ended by a time-out without a request, by ..."""
        self.cx_spent = 0
        """... the number of their requests, by ..."""
        self.cx_old = 0
        """... their age."""
        self.rq_head_late = 0
        """Requests ended by a time-out: their head was not whole, ..."""
        self.rq_late = 0
        """... they were not whole, ..."""
        self.rq_idle = 0
        """... nothing moved, or ..."""
        self.rq_long = 0
        """... their answer was not whole."""
        self.rq_shed = 0
        """Answered 503 for want of memory."""
        self.upgrades = 0
        """Requests that have left HTTP: upgrades and CONNECT."""
        self.paused = 0
        """How often a client was not read from for an upstream's sake."""

    def growth(self) -> list[tuple[str, int]]:
        """Metrics that grew since the last call, and by how much."""
        grown: list[tuple[str, int]] = []
        reported = self._reported
        for name, metric in COUNTERS:
            value: int = getattr(self, name)
            by = value - reported.get(name, 0)
            if by:
                reported[name] = value
                grown.append((metric, by))
        return grown


class HttpContext:
    """An HTTP connection manager. `table` is swapped when routes change; requests keep the route they matched."""

    __slots__ = (
        "_first",
        "careful",
        "config",
        "connections",
        "counts",
        "direction",
        "draining",
        "ends",
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
        "upgrades",
        "watch",
        "winding_down",
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
        self.own_identity = node.workload.principal if node.workload.principal != "unknown" else None
        self.trust_domains = trust_domains
        self.upgrades = frozenset([name.encode() for name in config.upgrades])
        """Protocols that requests may ask to switch to."""
        self.connections: set[DownstreamConnection | H2Link] = set()
        self.in_flight = 0
        """Requests whose answers are not whole."""
        self.draining = False
        self.winding_down = False
        """The application is about to end: every connection ends with its next answer, the new ones too."""
        self.ends = process.load.shedding
        """Connections end with their next answer: the chain is going away, or memory is short."""
        self.careful = self.ends or self._has_limits
        """A request is more than routed: it is refused, or counted, or the wheel must be told of it."""
        self.watch: Watch | None = process.taps.watch(direction)
        """None while nobody taps: all that a request pays for it."""
        self.tracer = Tracer(
            process.ids,
            process.rng,
            config.sampling_percent,
            both_sides=direction is Direction.GATEWAY,
        )

    @property
    def offers_tunnels(self) -> bool:
        """Some request may leave HTTP."""
        return bool(self.upgrades) or self.table.upgrades

    def _make_more(self, attempt: int) -> tuple[FieldLines, FieldLines]:
        count: Header = (b"x-envoy-attempt-count", b"%d" % attempt)
        return FieldLines([count]), FieldLines([count, *self.metadata])

    def more(self, attempt: int, secure: bool) -> FieldLines:
        """Fields that a request's head gets at the end, on its `attempt`-th try."""
        if attempt == 1 or self.direction is Direction.INBOUND:
            return self._first[secure]
        return self._make_more(attempt)[secure]

    @property
    def _has_limits(self) -> bool:
        config = self.config
        return bool(
            0 < config.stream_idle_timeout_s < 2 * MAX_LOOK_S
            or config.request_timeout_s
            or config.max_stream_duration_s
            or config.max_connection_duration_s
            or config.max_requests_per_connection
        )

    def shed(self) -> None:
        """The process's load has changed: what comes is refused from now on, or is served again."""
        shedding = self.process.load.shedding
        self.ends = self.draining or self.winding_down or shedding
        self.careful = shedding or self.winding_down or self._has_limits
        if shedding:
            for connection in list(self.connections):
                connection.end_soon()

    def wind_down(self) -> None:
        """What is there drains; a connection that comes later is not told to go before it has brought a request, or
        clients that wait for the first SETTINGS (grpc-go) would never get to send one."""
        if not self.winding_down:
            self.winding_down = self.ends = self.careful = True
            for connection in list(self.connections):
                connection.drain()

    def drain(self) -> None:
        """Idle connections close now, the others with their next answer."""
        self.draining = self.ends = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.abort()
