"""Proxies without sockets: streams of a publisher whose other ends take everything, as a running Envoy does."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from control.api.workload import Workload
from control.ca.peer import Peer
from control.generate.resources import Resources
from control.translate.proxies import identity_of
from control.xds.messages import CDS, EDS, LDS, RDS, SDS, SHORT, Request, Response
from control.xds.metrics import DiscoveryMetrics
from control.xds.publisher import Publisher
from control.xds.server import encode
from control.xds.stream import Stream


@dataclass(slots=True)
class Taken:
    """One answer."""

    type: str
    names: tuple[str, ...]
    """Of its resources; empty where they are not looked at."""
    size: int
    """Bytes on the wire."""


@dataclass(slots=True)
class EndpointNames:
    """The names of a snapshot's endpoints, one list for all who have the same."""

    known: dict[str, frozenset[str]] = field(default_factory=dict)

    def of(self, endpoints: Resources) -> frozenset[str]:
        found = self.known.get(endpoints.version)
        if found is None:
            found = self.known[endpoints.version] = frozenset(endpoints)
        return found


class Subscriber:
    """One proxy. `taken` has what it was sent since it was last cleared."""

    def __init__(
        self, publisher: Publisher, workload: Workload, endpoints: EndpointNames | None = None, *, look: bool = True
    ) -> None:
        self.node_id = workload.node_id
        self.taken: list[Taken] = []
        self._look = look
        peer = Peer(identity_of(workload, "cluster.local"), float("inf"), "test")
        metrics = DiscoveryMetrics(CollectorRegistry())
        self.stream = Stream(f"s{id(self):x}", workload.node_id, peer, 0.0, metrics)
        self._publisher = publisher
        self._endpoints = endpoints or EndpointNames()
        self._names: dict[str, frozenset[str]] = {}

    def connect(self, now: float) -> None:
        """Ask for everything and take it."""
        self._ask(CDS, frozenset(), now)
        self._ask(LDS, frozenset(), now)
        self._publisher.connect(self.stream)
        self.take(now)
        snapshot = self._publisher.plan.snapshots[self.node_id]
        for url in (RDS, SDS):
            self._ask(url, frozenset(snapshot.resources[url]), now)
        self.take(now)

    def want_endpoints(self, names: frozenset[str], now: float) -> None:
        """Of these clusters alone."""
        self._names[EDS] = names
        state = self.stream.subscription.types[EDS]
        self.stream.receive(Request(EDS, state.acked or "", state.nonce, names), now, 0.0)

    def take(self, now: float) -> int:
        """Everything that is due; the number of answers."""
        before = len(self.taken)
        while (response := self.stream.take(now)) is not None:
            data = encode(response)
            names = tuple(response.resources.names) if self._look else ()
            self.taken.append(Taken(SHORT[response.type_url], names, len(data)))
            self._accept(response, now)
        return len(self.taken) - before

    def _accept(self, response: Response, now: float) -> None:
        url = response.type_url
        names = self._names.get(url, frozenset())
        self.stream.receive(Request(url, response.version, response.nonce, names), now, 0.0)
        if url == CDS:
            # Every service has one; a snapshot is whole, so what clusters refer to is what there is.
            wanted = self._endpoints.of(self._publisher.plan.snapshots[self.node_id].resources[EDS])
            if wanted != self._names.get(EDS):
                first = EDS not in self._names
                self._names[EDS] = wanted
                if first:
                    self._ask(EDS, wanted, now)
                else:
                    self.want_endpoints(wanted, now)

    def _ask(self, url: str, names: frozenset[str], now: float) -> None:
        self._names[url] = names
        self.stream.receive(Request(url, names=names), now, 0.0)
