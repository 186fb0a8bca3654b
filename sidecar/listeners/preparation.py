"""Makes a snapshot's listeners ready beside those that serve: what can fail fails here, with nothing changed yet."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.clusters.secrets import Secrets
from sidecar.clusters.table import PreparedClusters
from sidecar.config.addon import Addon
from sidecar.config.listener import FilterChain, Http, Listener, Tcp
from sidecar.config.python_filter import PythonFilter
from sidecar.config.route import RouteConfiguration
from sidecar.config.snapshot import Snapshot
from sidecar.filters.python_live import LiveFilter
from sidecar.filters.python_load import UnusableFilter
from sidecar.filters.python_table import PreparedFilters
from sidecar.listeners.context import HttpContext, ListenerCounts, Process
from sidecar.listeners.listener import LiveChain, LiveListener
from sidecar.listeners.reuse import Around, reusable_http, reusable_tcp, trust_domains, without_routes
from sidecar.listeners.routes import Binder, BoundRoute, UnusableRoute, cluster_names
from sidecar.listeners.tcp import TcpContext, TcpTargets, bind_targets
from sidecar.net.tls import UnsupportedVersion, UnusableSecret
from sidecar.routing.table import RouteTable


class UnusableListener(Exception):
    """A listener or its routes cannot serve: `resource` is "listeners/NAME" or "routes/NAME", `path` the field."""

    def __init__(self, resource: str, path: str, reason: str) -> None:
        super().__init__(f"{resource}: {path}: {reason}")
        self.resource = resource
        self.path = path
        self.reason = reason


TableKey = tuple[str, str, bool, tuple[Addon, ...], tuple[PythonFilter, ...]]
"""Who has the table, its name, and the filters besides the routes' own."""


@dataclass(frozen=True, slots=True)
class BoundTable:
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
    tables: dict[TableKey, BoundTable]
    filters: PreparedFilters


class Preparation:
    """Of one snapshot. `tables` and `filters` are what its listeners have asked for so far."""

    def __init__(
        self,
        process: Process,
        snapshot: Snapshot,
        secrets: Secrets,
        clusters: PreparedClusters,
        filters: PreparedFilters,
        former_tables: Mapping[TableKey, BoundTable],
    ) -> None:
        self._process = process
        self._snapshot = snapshot
        self._secrets = secrets
        self._clusters = clusters
        self._routes = {config.name: config for config in snapshot.routes}
        self._former_tables = former_tables
        self.filters = filters
        self.tables: dict[TableKey, BoundTable] = {}

    def listener(self, config: Listener, live: LiveListener | None) -> PreparedListener:
        """`live`: what has its name now. Raises UnusableListener."""
        former = list(live.chains) if live is not None else []
        counts = live.counts if live is not None else ListenerCounts()
        around = Around(config, self._snapshot, former, counts)
        chains: list[LiveChain] = []
        tables: list[tuple[HttpContext, RouteTable[BoundRoute]]] = []
        targets: list[tuple[TcpContext, TcpTargets]] = []
        for at, chain in enumerate(config.chains):
            default = config.default_chain is not None and at == len(config.filter_chains)
            place = "default_filter_chain" if default else f"filter_chains[{at}]"
            tls = self._tls(config, chain, place)
            http: HttpContext | None = None
            tcp: TcpContext | None = None
            if chain.http is not None:
                table = self._table(config, chain.http, place)
                http = reusable_http(around, chain, chain.http) or self._http(around, chain, chain.http, table)
                tables.append((http, table))
            elif chain.tcp is not None:
                drawn = self._targets(config, chain.tcp, place)
                tcp = reusable_tcp(around, chain, chain.tcp) or self._tcp(around, chain, chain.tcp, drawn)
                targets.append((tcp, drawn))
            else:
                raise UnusableListener(f"listeners/{config.name}", f"{place}.filters", "is neither HTTP nor TCP")
            chains.append(LiveChain(chain, http, tcp, tls))
        return PreparedListener(config, tuple(chains), tuple(tables), tuple(targets))

    def _tls(self, config: Listener, chain: FilterChain, place: str) -> ssl.SSLContext | None:
        if chain.tls is None:
            return None
        try:
            return self._secrets.downstream(chain.tls)
        except (UnusableSecret, UnsupportedVersion) as error:
            raise UnusableListener(f"listeners/{config.name}", f"{place}.transport_socket", str(error)) from error

    def _targets(self, config: Listener, tcp: Tcp, place: str) -> TcpTargets:
        try:
            return bind_targets(tcp, self._clusters, self._process.telemetry)
        except ValueError as error:
            raise UnusableListener(f"listeners/{config.name}", f"{place}.weighted_clusters", str(error)) from error

    def _http(self, around: Around, chain: FilterChain, http: Http, table: RouteTable[BoundRoute]) -> HttpContext:
        return HttpContext(
            without_routes(http),
            around.listener.direction,
            table,
            around.counts,
            self._process,
            node=around.snapshot.node,
            trust_domains=trust_domains(chain),
        )

    def _tcp(self, around: Around, chain: FilterChain, tcp: Tcp, targets: TcpTargets) -> TcpContext:
        return TcpContext(
            tcp,
            around.listener.direction,
            targets,
            around.counts,
            self._process,
            node=around.snapshot.node,
            trust_domains=trust_domains(chain),
        )

    def _table(self, listener: Listener, http: Http, place: str) -> RouteTable[BoundRoute]:
        config = http.routes
        owner = f"listeners/{listener.name}/{place}"
        if config is None:
            if http.route_name is None or http.route_name not in self._routes:
                raise UnusableListener(
                    f"listeners/{listener.name}", f"{place}.rds", f"no routes are named {http.route_name!r}"
                )
            config = self._routes[http.route_name]
            owner = f"routes/{config.name}"
        key = (owner, config.name, http.fault_filter, http.addons, http.filters)
        if key in self.tables:
            return self.tables[key].table
        python = self._python(listener, http, place)
        former = self._former_tables.get(key)
        if former is not None and former.config == config and self._clusters.unchanged(former.clusters):
            self.tables[key] = former
            return former.table
        binder = Binder(
            self._clusters,
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
        self.tables[key] = BoundTable(config, self._clusters.identities(cluster_names(config)), table)
        return table

    def _python(self, listener: Listener, http: Http, place: str) -> tuple[LiveFilter, ...]:
        """What was in use for the same rule stays in use."""
        found: list[LiveFilter] = []
        for at, config in enumerate(http.filters):
            try:
                found.append(self.filters.get(config))
            except UnusableFilter as error:
                # The fault filter's place is between the two kinds.
                number = at + (1 if config.after_fault and http.fault_filter else 0)
                path = f"{place}.http_filters[{number}].typed_config.value.{error.path}"
                raise UnusableListener(f"listeners/{listener.name}", path, f"{config.name}: {error.reason}") from error
        return tuple(found)
