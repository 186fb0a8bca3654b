"""All listeners by name and the sockets that they accept on. A snapshot is checked whole before any of it serves."""

import socket

from sidecar.clusters.secrets import Secrets
from sidecar.clusters.table import PreparedClusters
from sidecar.config.endpoint import Address
from sidecar.config.listener import Listener
from sidecar.config.messages import Growth, Reading
from sidecar.config.snapshot import Snapshot
from sidecar.filters.python_table import PythonFilters
from sidecar.listeners.context import Process
from sidecar.listeners.listener import LiveListener
from sidecar.listeners.preparation import (
    BoundTable,
    Preparation,
    Prepared,
    PreparedListener,
    TableKey,
    UnusableListener,
)

_ACTIVE = "envoy_listener_downstream_cx_active"


class ListenerTable:
    """Owns sockets and live listeners."""

    def __init__(self, process: Process, filters: PythonFilters) -> None:
        self._process = process
        self._filters = filters
        self._sockets: dict[Address, socket.socket] = {}
        self._live: dict[str, LiveListener] = {}
        self._by_address: dict[Address, LiveListener] = {}
        self._leaving: list[LiveListener] = []
        self._tables: dict[TableKey, BoundTable] = {}

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
        preparation = Preparation(self._process, snapshot, secrets, clusters, self._filters.begin(), self._tables)
        prepared: list[PreparedListener] = []
        names: set[str] = set()
        addresses: set[Address] = set()
        for config in snapshot.listeners:
            resource = f"listeners/{config.name}"
            if config.name in names:
                raise UnusableListener(resource, "name", "two listeners have this name")
            if config.address in addresses:
                raise UnusableListener(resource, "address", f"another listener has {config.address}, too")
            if config.bound and config.address not in self._sockets:
                raise UnusableListener(resource, "address", f"no socket is bound to {config.address}")
            names.add(config.name)
            addresses.add(config.address)
            prepared.append(preparation.listener(config, self._live.get(config.name)))
        return Prepared(tuple(prepared), preparation.tables, preparation.filters)

    def commit(self, prepared: Prepared) -> None:
        """Put it in place; only what changed is touched."""
        former = self._live
        present: dict[str, LiveListener] = {}
        for each in prepared.listeners:
            config = each.config
            live = former.get(config.name)
            if live is not None and live.config is not None and _moved(live.config, config):
                live = None
            if live is None:
                listening = self._sockets[config.address] if config.bound else None
                live = LiveListener(listening, self._process, self._elsewhere)
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
        self._by_address = {live.config.address: live for live in present.values() if live.config is not None}
        self._tables = prepared.tables
        prepared.filters.commit()

    def _elsewhere(self, destination: Address) -> LiveListener | None:
        """Whose a redirected connection is: the listener's of just this address or, as Envoy has it, of its port at
        any address. One that redirected connections arrive at is not what they were going to."""
        found = self._by_address.get(destination)
        if found is None:
            anywhere = "::" if ":" in destination.host else "0.0.0.0"  # noqa: S104  compared, not bound
            found = self._by_address.get(Address(anywhere, destination.port))
        if found is None or found.config is None or found.config.original_destination:
            return None
        return found

    def load_changed(self) -> None:
        """Refuse or serve, accept or not, as the process's load says now."""
        for live in self.listeners:
            live.load_changed()

    # ends

    def wind_down(self) -> None:
        """Connections from other workloads end with their next answers; new ones are still accepted."""
        for live in self.listeners:
            live.wind_down()

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

    def report(self) -> None:
        """Telemetry is about to be flushed."""
        for live in self._live.values():
            live.report()

    def growth(self) -> list[Growth]:
        """Counters that grew since the last call."""
        grown: list[Growth] = []
        for live in self._spoken_to():
            live.counts.cx_shed = live.shed
            for name, by in live.counts.growth():
                grown.append(Growth(name, _labels(live, name), by))
        return grown

    def readings(self) -> list[Reading]:
        """Gauges of every listener."""
        return [Reading(_ACTIVE, _labels(live, _ACTIVE), float(live.counts.cx_active)) for live in self._spoken_to()]

    def _spoken_to(self) -> list[LiveListener]:
        """Those with something to tell: of listeners without a socket, of which there is one for each port of each
        service, most never see a connection."""
        return [live for live in self._live.values() if live.spoken_to]


def _moved(former: Listener, config: Listener) -> bool:
    """It needs another socket, or needs one at all, or none any more."""
    return (former.address, former.bound) != (config.address, config.bound)


def _labels(live: LiveListener, metric: str) -> tuple[tuple[str, str], ...]:
    config = live.config
    assert config is not None
    label = "envoy_http_conn_manager_prefix" if metric.startswith("envoy_http_") else "envoy_listener_address"
    return ((label, f"{config.address.host}_{config.address.port}"),)
