"""The mesh's graph and services, out of what Istio's standard metrics gained over a window: requests, and the bytes of
connections that are relayed as they are.

The destination's report is preferred, as Istio's dashboards do; the source's counts where the destination has none, and
for requests that never got there (no healthy upstream, aborted by a fault and so on), which only the source saw.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.records import Histogram
from collectors.store.answers import SERVICE, Graph, GraphEdge, GraphNode, ServiceSummary, WorkloadSummary
from collectors.store.metrics import (
    Catalogue,
    Known,
    histogram_increase,
    increase,
    latest_alive,
    merge,
    quantile,
)

REQUESTS = "istio_requests_total"
DURATION = "istio_request_duration_milliseconds"
BYTES = ("istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total")

_NEVER_ARRIVED = frozenset({"UH", "UF", "UO", "NR", "NC", "FI", "RL", "RLSE", "UAEX", "OM"})
"""Response flags of requests that no destination saw."""

_GRPC_FAILURES = frozenset({"2", "4", "12", "13", "14", "15"})
"""UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: errors of a server by OpenTelemetry, as
5xx are HTTP's. https://opentelemetry.io/docs/specs/semconv/rpc/grpc/#grpc-status"""

UNKNOWN = "unknown"


def failed(labels: dict[str, str]) -> bool:
    """Whether requests of these labels failed in the server."""
    return labels.get("response_code", "").startswith("5") or labels.get("grpc_response_status") in _GRPC_FAILURES


@dataclass(slots=True)
class _Traffic:
    """What one reporter saw between two ends."""

    requests: float = 0.0
    errors: float = 0.0
    secured: float = 0.0
    """Requests over mutual TLS."""
    unsent: float = 0.0
    """Requests that never left their sender's sidecar: they say nothing of TLS."""
    bytes: float = 0.0
    """Of relayed connections, both ways."""
    bytes_secured: float = 0.0
    protocols: dict[str, float] = field(default_factory=dict)
    durations: list[Histogram] = field(default_factory=list)

    def add(self, labels: dict[str, str], grown: float) -> None:
        self.requests += grown
        if failed(labels):
            self.errors += grown
        if labels.get("connection_security_policy") == "mutual_tls":
            self.secured += grown
        protocol = labels.get("request_protocol", UNKNOWN)
        self.protocols[protocol] = self.protocols.get(protocol, 0.0) + grown

    def add_bytes(self, labels: dict[str, str], grown: float) -> None:
        self.bytes += grown
        if labels.get("connection_security_policy") == "mutual_tls":
            self.bytes_secured += grown

    def join(self, other: "_Traffic") -> None:
        self.bytes += other.bytes
        self.bytes_secured += other.bytes_secured
        self.requests += other.requests
        self.errors += other.errors
        self.secured += other.secured
        self.unsent += other.unsent
        self.durations.extend(other.durations)
        for protocol, grown in other.protocols.items():
            self.protocols[protocol] = self.protocols.get(protocol, 0.0) + grown

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def mtls(self) -> bool:
        sent = self.requests - self.unsent
        whole = self.secured >= sent - 1e-6 and self.bytes_secured >= self.bytes - 1e-6
        return whole and (sent > 1e-6 or self.bytes > 0)

    @property
    def is_there(self) -> bool:
        return self.requests > 0 or self.bytes > 0

    @property
    def protocol(self) -> str:
        return max(self.protocols, key=lambda name: self.protocols[name], default="tcp" if self.bytes else UNKNOWN)

    def quantile(self, q: float) -> float | None:
        return quantile(q, merge(self.durations))


@dataclass(frozen=True, slots=True)
class _Key:
    """Between whom, and for which service."""

    source: str
    destination: str
    service: str
    service_namespace: str
    version: str


@dataclass(slots=True)
class _Seen:
    """The two sides' reports of the same traffic."""

    by_destination: _Traffic = field(default_factory=_Traffic)
    by_source: _Traffic = field(default_factory=_Traffic)
    never_arrived: _Traffic = field(default_factory=_Traffic)
    """Part of what the source reports, kept apart."""

    def settled(self) -> _Traffic:
        """What to believe."""
        traffic = _Traffic()
        traffic.join(self.by_destination if self.by_destination.is_there else self.by_source)
        traffic.join(self.never_arrived)
        traffic.unsent = self.never_arrived.requests
        return traffic

    def part(self, labels: dict[str, str]) -> _Traffic:
        if labels.get("reporter") == "destination":
            return self.by_destination
        flags = labels.get("response_flags", "-")
        if flags != "-" and not _NEVER_ARRIVED.isdisjoint(flags.split(",")):
            return self.never_arrived
        return self.by_source


def _node_id(labels: dict[str, str], side: str) -> str:
    workload = labels.get(f"{side}_workload", UNKNOWN)
    namespace = labels.get(f"{side}_workload_namespace", UNKNOWN)
    if workload != UNKNOWN:
        return f"{namespace}/{workload}"
    # A request that reached no workload (a fault filter answered it, no endpoint was healthy) still was meant for a
    # service. As Kiali draws it: the edge ends at a node of the service's own, which is no workload of that name.
    service = labels.get("destination_service_name", UNKNOWN) if side == "destination" else UNKNOWN
    if service != UNKNOWN:
        return f"{SERVICE}{labels.get('destination_service_namespace', UNKNOWN)}/{service}"
    return UNKNOWN


def _key(labels: dict[str, str]) -> _Key:
    return _Key(
        _node_id(labels, "source"),
        _node_id(labels, "destination"),
        labels.get("destination_service_name", UNKNOWN),
        labels.get("destination_service_namespace", UNKNOWN),
        labels.get("destination_version", UNKNOWN),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The series that a picture is drawn from."""

    requests: list[Known]
    durations: list[Known]
    bytes: list[Known]

    @property
    def naming(self) -> list[Known]:
        """Those that say who there is."""
        return [*self.requests, *self.bytes]


def _measured(connection: sqlite3.Connection, catalogue: Catalogue) -> _Measured:
    return _Measured(
        catalogue.find(connection, REQUESTS),
        catalogue.find(connection, DURATION),
        [one for name in BYTES for one in catalogue.find(connection, name)],
    )


def _gather(connection: sqlite3.Connection, measured: _Measured, start: float, end: float) -> dict[_Key, _Seen]:
    seen: dict[_Key, _Seen] = {}
    for one in measured.requests:
        grown = increase(connection, one, start, end)
        if grown > 0:
            seen.setdefault(_key(one.labels), _Seen()).part(one.labels).add(one.labels, grown)
    _gather_bytes(seen, [(one.labels, increase(connection, one, start, end)) for one in measured.bytes])
    for one in measured.durations:
        key = _key(one.labels)
        if key in seen:
            histogram = histogram_increase(connection, one, start, end)
            if histogram is not None:
                seen[key].part(one.labels).durations.append(histogram)
    return seen


def _gather_bytes(seen: dict[_Key, _Seen], grown: list[tuple[dict[str, str], float]]) -> None:
    """A connection of bytes does not tell the destination which workload it comes from, only whose certificate: where
    the source has reported it, the destination's report just vouches for the TLS."""
    sources: dict[tuple[str, str], list[_Traffic]] = {}
    strangers = []
    for labels, count in grown:
        if count <= 0:
            continue
        if labels.get("reporter") == "destination" and labels.get("source_workload", UNKNOWN) == UNKNOWN:
            strangers.append((labels, count))
            continue
        traffic = seen.setdefault(_key(labels), _Seen()).part(labels)
        traffic.add_bytes(labels, count)
        sources.setdefault(_proven(labels), []).append(traffic)
    for labels, count in strangers:
        known = sources.get(_proven(labels))
        if known is None:
            seen.setdefault(_key(labels), _Seen()).part(labels).add_bytes(labels, count)
        elif labels.get("connection_security_policy") == "mutual_tls":
            for traffic in known:
                traffic.bytes_secured = traffic.bytes


def _proven(labels: dict[str, str]) -> tuple[str, str]:
    return labels.get("source_principal", UNKNOWN), _node_id(labels, "destination")


def _merged(seen: dict[_Key, _Seen], key_of: str) -> dict[tuple[str, str], _Traffic]:
    merged: dict[tuple[str, str], _Traffic] = {}
    for key, one in seen.items():
        pair = (key.source, key.destination) if key_of == "edge" else (key.service, key.service_namespace)
        merged.setdefault(pair, _Traffic()).join(one.settled())
    return merged


def _window(now: float, window_s: float) -> tuple[float, float]:
    if not window_s > 0:
        raise ValueError(f"a window of {window_s} s")
    return now - window_s, now


def graph(connection: sqlite3.Connection, catalogue: Catalogue, now: float, window_s: float) -> Graph:
    """As Reader.graph says; an edge has had at least one request, or one byte, in the window."""
    start, end = _window(now, window_s)
    measured = _measured(connection, catalogue)
    seen = _gather(connection, measured, start, end)
    edges = _merged(seen, "edge")
    arriving: dict[str, _Traffic] = {}
    for (source, destination), traffic in edges.items():
        arriving.setdefault(source, _Traffic())
        arriving.setdefault(destination, _Traffic()).join(traffic)
    described = _describe(measured.naming)
    nodes = tuple(
        GraphNode(
            name,
            *described.get(name, _undescribed(name)),
            requests_per_s=traffic.requests / window_s,
            error_rate=traffic.error_rate,
            bytes_per_s=traffic.bytes / window_s,
        )
        for name, traffic in sorted(arriving.items())
    )
    return Graph(now, window_s, nodes, tuple(_edge(pair, edges[pair], window_s) for pair in sorted(edges)))


def workloads(
    connection: sqlite3.Connection, catalogue: Catalogue, now: float, window_s: float
) -> list[WorkloadSummary]:
    """As Reader.workloads says."""
    start, end = _window(now, window_s)
    measured = _measured(connection, catalogue)
    arriving: dict[str, _Traffic] = {}
    for (_, destination), traffic in _merged(_gather(connection, measured, start, end), "edge").items():
        arriving.setdefault(destination, _Traffic()).join(traffic)
    described = _describe(measured.naming)
    return [
        WorkloadSummary(
            *described.get(name, _undescribed(name)),
            requests_per_s=traffic.requests / window_s,
            error_rate=traffic.error_rate,
            p50_ms=traffic.quantile(0.5),
            p99_ms=traffic.quantile(0.99),
            mtls=traffic.mtls,
            bytes_per_s=traffic.bytes / window_s,
        )
        for name, traffic in sorted(arriving.items())
        if name != UNKNOWN and not name.startswith(SERVICE)
    ]


def _edge(pair: tuple[str, str], traffic: _Traffic, window_s: float) -> GraphEdge:
    return GraphEdge(
        source=pair[0],
        destination=pair[1],
        requests_per_s=traffic.requests / window_s,
        error_rate=traffic.error_rate,
        p50_ms=traffic.quantile(0.5),
        p99_ms=traffic.quantile(0.99),
        mtls=traffic.mtls,
        protocol=traffic.protocol,
        bytes_per_s=traffic.bytes / window_s,
    )


def _describe(known: Iterable[Known]) -> dict[str, tuple[str, str, str, str]]:
    """Workload, namespace, app and version by node id; the newest series speaks."""
    described: dict[str, tuple[str, str, str, str]] = {}
    for one in known:
        for side in ("source", "destination"):
            labels = one.labels
            if labels.get(f"{side}_workload", UNKNOWN) != UNKNOWN:
                described[_node_id(labels, side)] = (
                    labels[f"{side}_workload"],
                    labels.get(f"{side}_workload_namespace", UNKNOWN),
                    labels.get(f"{side}_app", UNKNOWN),
                    labels.get(f"{side}_version", UNKNOWN),
                )
    return described


def _undescribed(name: str) -> tuple[str, str, str, str]:
    namespace, _, workload = name.removeprefix(SERVICE).rpartition("/")
    return "" if name.startswith(SERVICE) else workload, namespace or UNKNOWN, workload, UNKNOWN


def services(connection: sqlite3.Connection, catalogue: Catalogue, now: float, window_s: float) -> list[ServiceSummary]:
    """As Reader.services says; a service without requests in the window shows while a target still has its series."""
    start, end = _window(now, window_s)
    measured = _measured(connection, catalogue)
    seen = _gather(connection, measured, start, end)
    traffic = _merged(seen, "service")
    versions: dict[tuple[str, str], set[str]] = {pair: set() for pair in traffic}
    for one in measured.naming:
        key = _key(one.labels)
        pair = (key.service, key.service_namespace)
        if pair in versions and key.version in versions[pair]:
            continue
        if latest_alive(connection, one, now):
            versions.setdefault(pair, set()).add(key.version)
    for key in seen:
        versions[key.service, key.service_namespace].add(key.version)
    return [
        ServiceSummary(
            name=pair[0],
            namespace=pair[1],
            versions=tuple(sorted(found - {UNKNOWN})),
            requests_per_s=traffic.get(pair, _Traffic()).requests / window_s,
            error_rate=traffic.get(pair, _Traffic()).error_rate,
            p50_ms=traffic.get(pair, _Traffic()).quantile(0.5),
            p99_ms=traffic.get(pair, _Traffic()).quantile(0.99),
            mtls=traffic.get(pair, _Traffic()).mtls,
            bytes_per_s=traffic.get(pair, _Traffic()).bytes / window_s,
        )
        for pair, found in sorted(versions.items())
        if pair[0] != UNKNOWN
    ]
