"""All listeners by name and the sockets that they accept on. A snapshot is checked whole before any of it serves."""

import socket
from dataclasses import dataclass, replace

from sidecar.clusters.secrets import Secrets
from sidecar.clusters.table import PreparedClusters
from sidecar.config.endpoint import Address
from sidecar.config.listener import FilterChain, Http, Listener
from sidecar.config.messages import Growth, Reading
from sidecar.config.route import RouteConfiguration
from sidecar.config.snapshot import Snapshot
from sidecar.listeners.context import HttpContext, ListenerCounts, Process
from sidecar.listeners.listener import LiveChain, LiveListener
from sidecar.listeners.routes import Binder, BoundRoute, UnusableRoute, cluster_names
from sidecar.net.tls import UnsupportedVersion, UnusableSecret
from sidecar.routing.table import RouteTable


class UnusableListener(Exception):
    """A listener or its routes cannot serve: `resource` is "listeners/NAME" or "routes/NAME", `path` the field."""

    def __init__(self, resource: str, path: str, reason: str) -> None:
        super().__init__(f"{resource}: {path}: {reason}")
        self.resource = resource
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _BoundTable:
    """A route table with what it was made of: while all of that is the same, so is the table."""

    config: RouteConfiguration
    fault_filter: bool
    clusters: tuple[tuple[str, object], ...]
    table: RouteTable[BoundRoute]


@dataclass(frozen=True, slots=True)
class PreparedListener:
    """What `commit` will put in place."""

    config: Listener
    chains: tuple[LiveChain, ...]
    tables: tuple[RouteTable[BoundRoute], ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All listeners of a snapshot and the tables bound for them."""

    listeners: tuple[PreparedListener, ...]
    tables: dict[tuple[str, str, bool], _BoundTable]


class ListenerTable:
    """Owns sockets and live listeners."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sockets: dict[Address, socket.socket] = {}
        self._live: dict[str, LiveListener] = {}
        self._leaving: list[LiveListener] = []
        self._tables: dict[tuple[str, str, bool], _BoundTable] = {}

    @property
    def listeners(self) -> tuple[LiveListener, ...]:
        """Present ones and those that still have connections to finish."""
        self._leaving = [live for live in self._leaving if live.connections]
        return (*self._live.values(), *self._leaving)

    def add_socket(self, address: Address, listening: socket.socket) -> None:
        """`listening` is ours from now on; accepted on when a listener has this address."""
        former = self._sockets.get(address)
        if former is not None:
            listening.close()
            return
        self._sockets[address] = listening

    # one snapshot

    def prepare(self, snapshot: Snapshot, secrets: Secrets, clusters: PreparedClusters) -> Prepared:
        """Build everything that can fail. Raises UnusableListener; nothing has changed then."""
        routes = {config.name: config for config in snapshot.routes}
        tables: dict[tuple[str, str, bool], _BoundTable] = {}
        prepared: list[PreparedListener] = []
        names: set[str] = set()
        addresses: set[Address] = set()
        for config in snapshot.listeners:
            resource = f"listeners/{config.name}"
            if config.name in names:
                raise UnusableListener(resource, "name", "two listeners have this name")
            if config.address in addresses:
                raise UnusableListener(resource, "address", f"another listener has {config.address}, too")
            if config.address not in self._sockets:
                raise UnusableListener(resource, "address", f"no socket is bound to {config.address}")
            names.add(config.name)
            addresses.add(config.address)
            prepared.append(self._prepare(config, snapshot, routes, secrets, clusters, tables))
        return Prepared(tuple(prepared), tables)

    def _prepare(
        self,
        config: Listener,
        snapshot: Snapshot,
        routes: dict[str, RouteConfiguration],
        secrets: Secrets,
        clusters: PreparedClusters,
        tables: dict[tuple[str, str, bool], _BoundTable],
    ) -> PreparedListener:
        live = self._live.get(config.name)
        former = list(live.chains) if live is not None else []
        counts = live.counts if live is not None else ListenerCounts()
        chains: list[LiveChain] = []
        bound: list[RouteTable[BoundRoute]] = []
        for at, chain in enumerate(config.chains):
            place = f"filter_chains[{at}]"
            if chain.http is None:
                raise UnusableListener(f"listeners/{config.name}", f"{place}.filters", "relaying bytes is not supported")
            table = self._table(config, chain.http, place, routes, clusters, tables)
            tls = None
            if chain.tls is not None:
                try:
                    tls = secrets.downstream(chain.tls)
                except (UnusableSecret, UnsupportedVersion) as error:
                    raise UnusableListener(
                        f"listeners/{config.name}", f"{place}.transport_socket", str(error)
                    ) from error
            context = _reusable(former, config, chain, snapshot)
            if context is None:
                context = self._context(config, chain, snapshot, table, counts)
            chains.append(LiveChain(chain, context, tls))
            bound.append(table)
        return PreparedListener(config, tuple(chains), tuple(bound))

    def _context(
        self,
        config: Listener,
        chain: FilterChain,
        snapshot: Snapshot,
        table: RouteTable[BoundRoute],
        counts: ListenerCounts,
    ) -> HttpContext:
        domains = chain.tls.trust_domains if chain.tls is not None else ()
        return HttpContext(
            replace(chain.http, routes=None),
            config.direction,
            table,
            counts,
            self._process,
            node=snapshot.node,
            trust_domains=domains,
        )

    def _table(
        self,
        listener: Listener,
        http: Http,
        place: str,
        routes: dict[str, RouteConfiguration],
        clusters: PreparedClusters,
        tables: dict[tuple[str, str, bool], _BoundTable],
    ) -> RouteTable[BoundRoute]:
        config = http.routes
        owner = f"listeners/{listener.name}/{place}"
        if config is None:
            if http.route_name is None or http.route_name not in routes:
                raise UnusableListener(
                    f"listeners/{listener.name}", f"{place}.rds", f"no routes are named {http.route_name!r}"
                )
            config = routes[http.route_name]
            owner = f"routes/{config.name}"
        key = (owner, config.name, http.fault_filter)
        if key in tables:
            return tables[key].table
        former = self._tables.get(key)
        if former is not None and former.config == config and clusters.unchanged(former.clusters):
            tables[key] = former
            return former.table
        binder = Binder(
            clusters,
            self._process.telemetry,
            self._process.rng,
            self._process.loop.call_later,
            http.fault_filter,
        )
        try:
            table = binder.bind(config)
        except UnusableRoute as error:
            raise UnusableListener(owner, error.path, error.reason) from error
        tables[key] = _BoundTable(config, http.fault_filter, clusters.identities(cluster_names(config)), table)
        return table

    def commit(self, prepared: Prepared) -> None:
        """Put it in place; only what changed is touched."""
        former = self._live
        present: dict[str, LiveListener] = {}
        for each in prepared.listeners:
            config = each.config
            live = former.get(config.name)
            if live is not None and live.config is not None and live.config.address != config.address:
                live = None
            if live is None:
                live = LiveListener(self._sockets[config.address], self._process)
                for chain in each.chains:
                    chain.http.counts = live.counts
            present[config.name] = live
        # The old listener of an address stops before the new one starts on the same socket.
        for name, live in former.items():
            if present.get(name) is not live:
                live.drain()
                self._leaving.append(live)
        for each in prepared.listeners:
            for chain, table in zip(each.chains, each.tables, strict=True):
                chain.http.table = table
            live = present[each.config.name]
            live.use(each.config, each.chains)
            live.start()
        self._live = present
        self._tables = prepared.tables

    # ends

    def drain(self) -> None:
        """Stop accepting everywhere; connections end with their answers."""
        for live in self.listeners:
            live.drain()

    def abort(self) -> None:
        """Cut what is left."""
        for live in self.listeners:
            live.abort()

    def close(self) -> None:
        """Stop, cut, and close the sockets."""
        for live in self.listeners:
            live.stop_accepting()
            live.abort()
        for listening in self._sockets.values():
            listening.close()
        self._sockets.clear()

    @property
    def connections(self) -> int:
        return sum(live.connections for live in self.listeners)

    @property
    def in_flight(self) -> int:
        return sum(live.in_flight for live in self.listeners)

    # metrics

    def growth(self) -> list[Growth]:
        """Counters that grew since the last call."""
        grown: list[Growth] = []
        for live in self._live.values():
            counts = live.counts
            by = counts.cx_total - counts.reported_total
            if by:
                counts.reported_total = counts.cx_total
                grown.append(Growth("envoy_listener_downstream_cx_total", _labels(live), by))
        return grown

    def readings(self) -> list[Reading]:
        """Gauges of every listener."""
        return [
            Reading("envoy_listener_downstream_cx_active", _labels(live), float(live.counts.cx_active))
            for live in self._live.values()
        ]


def _labels(live: LiveListener) -> tuple[tuple[str, str], ...]:
    config = live.config
    assert config is not None
    return (("envoy_listener_address", f"{config.address.host}_{config.address.port}"),)


def _reusable(former: list[LiveChain], config: Listener, chain: FilterChain, snapshot: Snapshot) -> HttpContext | None:
    """The context of a former chain whose connections would notice no difference but the routes."""
    domains = chain.tls.trust_domains if chain.tls is not None else ()
    http = replace(chain.http, routes=None)
    for each in former:
        context = each.http
        if (
            each.config.transport == chain.transport
            and context.config == http
            and context.direction is config.direction
            and context.trust_domains == domains
            and context.node == snapshot.node
            and (each.tls is None) == (chain.tls is None)
            and _same_demands(each.config, chain)
        ):
            former.remove(each)
            return context
    return None


def _same_demands(one: FilterChain, other: FilterChain) -> bool:
    """Whoever got in under the former rules would get in under these. A rotated secret does not change that."""
    if one.tls is None or other.tls is None:
        return one.tls is other.tls
    return replace(one.tls, certificate="") == replace(other.tls, certificate="")
