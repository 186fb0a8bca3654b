"""All listeners by name and the sockets that they accept on. A snapshot is checked whole before any of it serves."""

import socket
import ssl
from dataclasses import dataclass, replace

from sidecar.clusters.secrets import Secrets
from sidecar.clusters.table import PreparedClusters
from sidecar.config.addon import Addon
from sidecar.config.endpoint import Address
from sidecar.config.listener import FilterChain, Http, Listener, Tcp
from sidecar.config.messages import Growth, Reading
from sidecar.config.python_filter import PythonFilter
from sidecar.config.route import RouteConfiguration
from sidecar.config.snapshot import Snapshot
from sidecar.filters.python_live import LiveFilter
from sidecar.filters.python_load import UnusableFilter
from sidecar.filters.python_table import PreparedFilters, PythonFilters
from sidecar.listeners.context import HttpContext, ListenerCounts, Process
from sidecar.listeners.listener import LiveChain, LiveListener
from sidecar.listeners.routes import Binder, BoundRoute, UnusableRoute, cluster_names
from sidecar.listeners.tcp import TcpContext, TcpTargets, bind_targets
from sidecar.net.tls import UnsupportedVersion, UnusableSecret
from sidecar.routing.table import RouteTable

_ACTIVE = "envoy_listener_downstream_cx_active"


class UnusableListener(Exception):
    """A listener or its routes cannot serve: `resource` is "listeners/NAME" or "routes/NAME", `path` the field."""

    def __init__(self, resource: str, path: str, reason: str) -> None:
        super().__init__(f"{resource}: {path}: {reason}")
        self.resource = resource
        self.path = path
        self.reason = reason


_TableKey = tuple[str, str, bool, tuple[Addon, ...], tuple[PythonFilter, ...]]
"""Who has the table, its name, and the filters besides the routes' own."""


@dataclass(frozen=True, slots=True)
class _BoundTable:
    """A route table with what it was made of: while all of that is the same, so is the table."""

    config: RouteConfiguration
    clusters: tuple[tuple[str, object], ...]
    table: RouteTable[BoundRoute]


@dataclass(frozen=True, slots=True)
class PreparedListener:
    """What `commit` will put in place."""

    config: Listener
    chains: tuple[LiveChain, ...]
    tables: tuple[tuple[HttpContext, RouteTable[BoundRoute]], ...]
    targets: tuple[tuple[TcpContext, TcpTargets], ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All listeners of a snapshot and the tables bound for them."""

    listeners: tuple[PreparedListener, ...]
    tables: dict[_TableKey, _BoundTable]
    filters: PreparedFilters


class ListenerTable:
    """Owns sockets and live listeners."""

    def __init__(self, process: Process, filters: PythonFilters) -> None:
        self._process = process
        self._filters = filters
        self._preparing = filters.begin()
        """The filters of the snapshot that is being prepared."""
        self._sockets: dict[Address, socket.socket] = {}
        self._live: dict[str, LiveListener] = {}
        self._leaving: list[LiveListener] = []
        self._tables: dict[_TableKey, _BoundTable] = {}

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
        self._preparing = self._filters.begin()
        routes = {config.name: config for config in snapshot.routes}
        tables: dict[_TableKey, _BoundTable] = {}
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
        prepared_filters, self._preparing = self._preparing, self._filters.begin()
        return Prepared(tuple(prepared), tables, prepared_filters)

    def _prepare(
        self,
        config: Listener,
        snapshot: Snapshot,
        routes: dict[str, RouteConfiguration],
        secrets: Secrets,
        clusters: PreparedClusters,
        bound: dict[_TableKey, _BoundTable],
    ) -> PreparedListener:
        live = self._live.get(config.name)
        former = list(live.chains) if live is not None else []
        counts = live.counts if live is not None else ListenerCounts()
        around = _Around(config, snapshot, former, counts)
        chains: list[LiveChain] = []
        tables: list[tuple[HttpContext, RouteTable[BoundRoute]]] = []
        targets: list[tuple[TcpContext, TcpTargets]] = []
        for at, chain in enumerate(config.chains):
            default = config.default_chain is not None and at == len(config.filter_chains)
            place = "default_filter_chain" if default else f"filter_chains[{at}]"
            tls = self._tls(config, chain, place, secrets)
            http: HttpContext | None = None
            tcp: TcpContext | None = None
            if chain.http is not None:
                table = self._table(config, chain.http, place, routes, clusters, bound)
                http = _reusable_http(around, chain, chain.http) or self._http(around, chain, chain.http, table)
                tables.append((http, table))
            elif chain.tcp is not None:
                drawn = self._targets(config, chain.tcp, place, clusters)
                tcp = _reusable_tcp(around, chain, chain.tcp) or self._tcp(around, chain, chain.tcp, drawn)
                targets.append((tcp, drawn))
            else:
                raise UnusableListener(f"listeners/{config.name}", f"{place}.filters", "is neither HTTP nor TCP")
            chains.append(LiveChain(chain, http, tcp, tls))
        return PreparedListener(config, tuple(chains), tuple(tables), tuple(targets))

    def _tls(self, config: Listener, chain: FilterChain, place: str, secrets: Secrets) -> ssl.SSLContext | None:
        if chain.tls is None:
            return None
        try:
            return secrets.downstream(chain.tls)
        except (UnusableSecret, UnsupportedVersion) as error:
            raise UnusableListener(f"listeners/{config.name}", f"{place}.transport_socket", str(error)) from error

    def _targets(self, config: Listener, tcp: Tcp, place: str, clusters: PreparedClusters) -> TcpTargets:
        try:
            return bind_targets(tcp, clusters, self._process.telemetry)
        except ValueError as error:
            raise UnusableListener(f"listeners/{config.name}", f"{place}.weighted_clusters", str(error)) from error

    def _http(self, around: "_Around", chain: FilterChain, http: Http, table: RouteTable[BoundRoute]) -> HttpContext:
        return HttpContext(
            _without_routes(http),
            around.listener.direction,
            table,
            around.counts,
            self._process,
            node=around.snapshot.node,
            trust_domains=_domains(chain),
        )

    def _tcp(self, around: "_Around", chain: FilterChain, tcp: Tcp, targets: TcpTargets) -> TcpContext:
        return TcpContext(
            tcp,
            around.listener.direction,
            targets,
            around.counts,
            self._process,
            node=around.snapshot.node,
            trust_domains=_domains(chain),
        )

    def _table(
        self,
        listener: Listener,
        http: Http,
        place: str,
        routes: dict[str, RouteConfiguration],
        clusters: PreparedClusters,
        tables: dict[_TableKey, _BoundTable],
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
        key = (owner, config.name, http.fault_filter, http.addons, http.filters)
        if key in tables:
            return tables[key].table
        python = self._python(listener, http, place)
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
            lambda: self._process.addons.filters(http.addons),
            python,
        )
        try:
            table = binder.bind(config)
        except UnusableRoute as error:
            raise UnusableListener(owner, error.path, error.reason) from error
        tables[key] = _BoundTable(config, clusters.identities(cluster_names(config)), table)
        return table

    def _python(self, listener: Listener, http: Http, place: str) -> tuple[LiveFilter, ...]:
        """What was in use for the same rule stays in use."""
        found: list[LiveFilter] = []
        for at, config in enumerate(http.filters):
            try:
                found.append(self._preparing.get(config))
            except UnusableFilter as error:
                # The fault filter's place is between the two kinds.
                number = at + (1 if config.after_fault and http.fault_filter else 0)
                path = f"{place}.http_filters[{number}].typed_config.value.{error.path}"
                raise UnusableListener(f"listeners/{listener.name}", path, f"{config.name}: {error.reason}") from error
        return tuple(found)

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
                    chain.context.counts = live.counts
            present[config.name] = live
        # The old listener of an address stops before the new one starts on the same socket.
        for name, live in former.items():
            if present.get(name) is not live:
                live.drain()
                self._leaving.append(live)
        for each in prepared.listeners:
            for http, table in each.tables:
                http.table = table
            for tcp, targets in each.targets:
                tcp.targets = targets
            live = present[each.config.name]
            live.use(each.config, each.chains)
            live.start()
        self._live = present
        self._tables = prepared.tables
        prepared.filters.commit()

    def load_changed(self) -> None:
        """Refuse or serve, accept or not, as the process's load says now."""
        for live in self.listeners:
            live.load_changed()

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
            live.counts.cx_shed = live.shed
            for name, by in live.counts.growth():
                grown.append(Growth(name, _labels(live, name), by))
        return grown

    def readings(self) -> list[Reading]:
        """Gauges of every listener."""
        return [Reading(_ACTIVE, _labels(live, _ACTIVE), float(live.counts.cx_active)) for live in self._live.values()]


def _labels(live: LiveListener, metric: str) -> tuple[tuple[str, str], ...]:
    config = live.config
    assert config is not None
    label = "envoy_http_conn_manager_prefix" if metric.startswith("envoy_http_") else "envoy_listener_address"
    return ((label, f"{config.address.host}_{config.address.port}"),)


@dataclass(frozen=True, slots=True)
class _Around:
    """What a filter chain is part of."""

    listener: Listener
    snapshot: Snapshot
    former: list[LiveChain]
    """Chains that serve now and that no chain of the snapshot continues yet."""
    counts: ListenerCounts


def _domains(chain: FilterChain) -> tuple[str, ...]:
    return chain.tls.trust_domains if chain.tls is not None else ()


def _without_routes(config: Http) -> Http:
    """Without what is in the table."""
    return replace(config, routes=None, addons=(), filters=())


def _reusable_http(around: _Around, chain: FilterChain, config: Http) -> HttpContext | None:
    """The context of a former chain whose connections would notice no difference but the routes."""
    for each in around.former:
        if each.http is not None and each.http.config == _without_routes(config) and _continues(around, each, chain):
            around.former.remove(each)
            return each.http
    return None


def _reusable_tcp(around: _Around, chain: FilterChain, config: Tcp) -> TcpContext | None:
    """Likewise. Other weights are no reason to end a connection, a target that is gone is one."""
    for each in around.former:
        if each.tcp is not None and _same_but_weights(each.tcp.config, config) and _continues(around, each, chain):
            around.former.remove(each)
            return each.tcp
    return None


def _same_but_weights(one: Tcp, other: Tcp) -> bool:
    return replace(one, targets=()) == replace(other, targets=()) and (
        {target.cluster for target in one.targets} == {target.cluster for target in other.targets}
    )


def _continues(around: _Around, former: LiveChain, chain: FilterChain) -> bool:
    context = former.context
    return (
        _conditions(former.config) == _conditions(chain)
        and context.direction is around.listener.direction
        and context.trust_domains == _domains(chain)
        and context.node == around.snapshot.node
        and _same_demands(former.config, chain)
    )


def _conditions(chain: FilterChain) -> tuple[object, ...]:
    return chain.transport, chain.server_names, chain.application_protocols


def _same_demands(one: FilterChain, other: FilterChain) -> bool:
    """Whoever got in under the former rules would get in under these. A rotated secret does not change that."""
    if one.tls is None or other.tls is None:
        return one.tls is other.tls
    return replace(one.tls, certificate="") == replace(other.tls, certificate="")
