"""Every request's telemetry in one call: metrics, access log, spans; flushed as messages for the agent. No I/O.

`finish` is on the path of every request and costs about two microseconds; whatever can be known before is worked out
by `downstream`, `target` and `upstream`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from mesh.clock import Clock
from mesh.records import Workload
from sidecar.config.cluster import Cluster, Service
from sidecar.config.endpoint import Endpoint
from sidecar.config.listener import Direction
from sidecar.config.messages import AccessLog, Growth, Metrics, Reading, Span, Spans
from sidecar.config.snapshot import Node
from sidecar.telemetry.bindings import Downstream, Source, Target, Upstream
from sidecar.telemetry.entry import NO_UPSTREAM, EntryPacker, downstream_part, pack_pairs
from sidecar.telemetry.messages import MessageCounts
from sidecar.telemetry.peer import identify
from sidecar.telemetry.record import RequestRecord
from sidecar.telemetry.series import Labels, SeriesTable, Slot, ends
from sidecar.telemetry.spans import make_spans
from sidecar.telemetry.tcp import TcpRecord, TcpTelemetry

_UNKNOWN = Workload()


class Limits(NamedTuple):
    """How much telemetry a worker holds until the next flush."""

    max_series: int = 10_000
    """Combinations of metric labels; more are counted in overflow series."""
    idle_s: float = 600.0
    """A series without a request this long is let go."""
    max_entry_bytes: int = 32 * 1024 * 1024
    """Access-log entries; more are dropped and counted."""
    max_spans: int = 5_000
    max_sources: int = 1_024
    """Callers remembered with their metadata."""
    max_upstreams: int = 4_096
    """Endpoints remembered, those of former snapshots included until there are too many."""
    message_bytes: int = 256 * 1024
    """Access-log entries in one message, about. Small: entries that are soon joined leave their memory to the next ones
    while it is in the processor's cache, and no second begins with a burst."""


DEFAULT_LIMITS: Final = Limits()


class Telemetry:
    """One per worker. `use_node` whenever a snapshot brings another node, before its targets are made."""

    def __init__(
        self,
        node: Node,
        epoch: str,
        clock: Clock,
        limits: Limits = DEFAULT_LIMITS,
        emit: Callable[[AccessLog], object] | None = None,
    ) -> None:
        """`emit` takes access-log messages as soon as they are full, False if it drops one; without it they wait for
        `flush`."""
        self._epoch = epoch
        self._clock = clock
        self._limits = limits
        self._message_bytes = min(limits.message_bytes, limits.max_entry_bytes)
        self._emit = emit
        self._series = SeriesTable(max_series=limits.max_series, idle_s=limits.idle_s)
        self.tcp = TcpTelemetry(self, max_series=limits.max_series, idle_s=limits.idle_s)
        """Connections that are relayed as bytes."""
        self._counted_messages = MessageCounts(max_series=limits.max_series)
        self._packer = EntryPacker()
        self._entries: list[bytes] = []
        self._entry_bytes = 0
        self._messages: list[AccessLog] = []
        self._message_bytes_held = 0
        self._spans: list[Span] = []
        self._sources: dict[tuple[bytes | None, str | None], Source] = {}
        self._nobody = Source(_UNKNOWN)
        self._sequence = 0
        self._overflow_reported = 0
        self._entries_dropped = 0
        self._spans_dropped = 0
        self._finished_twice = 0
        self._epoch_offset = clock.now() - clock.monotonic()
        self.use_node(node)

    def use_node(self, node: Node) -> None:
        """Whose sidecar this is; bindings made before keep the former labels."""
        self._node = node
        self._upstreams: dict[tuple[int, int, bool], tuple[Upstream, Cluster, Endpoint]] = {}
        self._no_target = self.target("", None)

    # Bindings

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
        entry = downstream_part(
            self._node.id,
            self._epoch,
            [
                ("workload", self._node.workload.name),
                ("namespace", self._node.workload.namespace),
                ("direction", direction.value),
                ("downstream_local_address", local),
                ("downstream_remote_address", remote),
                ("requested_server_name", server_name),
                ("source_principal", principal),
            ],
        )
        source = self._nobody if principal is None else self._source(None, principal)
        return Downstream(direction, remote, principal, entry, source, access_log, trace)

    def target(self, route: str, cluster: Cluster | None, *, chosen: bool = True) -> Target:
        """A route and one of the clusters that it may choose; None: it answers by itself. Not `chosen`: the cluster is
        one of several of the same service."""
        service = Service() if cluster is None else _service(cluster)
        name = cluster.name if cluster is not None and chosen else None
        entry = pack_pairs([("route_name", route or None), ("upstream_cluster", name)])
        labels = self._outbound_labels(_UNKNOWN, service, secure=False)
        return Target(route, name, service, entry, labels)

    def upstream(self, cluster: Cluster, endpoint: Endpoint, *, secure: bool) -> Upstream:
        """An endpoint; `secure`: reached by mutual TLS. The same answer for the same objects, at a look-up's cost."""
        # By identity: hashing two deep dataclasses would cost more than all else here. An entry keeps both alive, so
        # that their ids can not come to mean others.
        key = (id(cluster), id(endpoint), secure)
        known = self._upstreams.get(key)
        if known is not None:
            return known[0]
        address = str(endpoint.address)
        labels = self._outbound_labels(endpoint.workload, _service(cluster), secure=secure)
        upstream = Upstream(address, endpoint.workload, pack_pairs([("upstream_host", address)]), labels)
        if len(self._upstreams) >= self._limits.max_upstreams:
            self._upstreams.clear()
        self._upstreams[key] = (upstream, cluster, endpoint)
        return upstream

    def _outbound_labels(self, destination: Workload, service: Service, *, secure: bool) -> Labels:
        """Source reporter: who is called is known from the endpoint; identities only if TLS proved them."""
        source = self._node.workload
        if not secure:
            source = replace(source, principal="unknown")
            destination = replace(destination, principal="unknown")
        return self._labels("source", source, destination, service, "unknown")

    def _inbound_labels(self, target: Target, source: Source) -> Labels:
        """Destination reporter: this workload is called."""
        here = self._node.workload
        proven = source.workload.principal != "unknown"
        if not proven:
            here = replace(here, principal="unknown")
        service = target.service
        if service.name == "unknown":
            service = Service(service.host, here.canonical_service, here.namespace)
        labels = self._labels("destination", source.workload, here, service, "mutual_tls" if proven else "none")
        if len(target.sources) >= self._limits.max_sources:
            target.sources.clear()
        target.sources[source] = labels
        return labels

    def _labels(self, reporter: str, source: Workload, destination: Workload, service: Service, policy: str) -> Labels:
        entry = pack_pairs([("source_workload", source.name), ("destination_service", service.host)])
        return self._series.labels(reporter, ends(source, destination, service), policy, entry)

    def _source(self, metadata: bytes | None, principal: str | None) -> Source:
        """Who calls; the same object for the same words, so that a hostile peer fills no memory."""
        key = (metadata, principal)
        source = self._sources.get(key)
        if source is None:
            if len(self._sources) >= self._limits.max_sources:
                self._sources.clear()
            source = self._sources[key] = Source(identify(metadata, principal))
        return source

    # The hot path

    def finish(self, record: RequestRecord, now: float) -> None:
        """The request is over; `now` is of the monotonic clock. Exactly once per record: again is counted as
        `remora_requests_finished_twice_total` and changes nothing else."""
        if record.finished:
            self._finished_twice += 1
            return
        record.finished = True
        downstream = record.downstream
        target = record.target or self._no_target
        upstream = record.upstream
        if downstream.inbound:
            metadata = record.peer_metadata
            if metadata != downstream.peer_metadata and downstream.principal is not None:
                downstream.peer_metadata = metadata
                downstream.source = self._source(metadata, downstream.principal)
            labels = target.sources.get(downstream.source) or self._inbound_labels(target, downstream.source)
        else:
            labels = target.labels if upstream is None else upstream.labels
        status = record.status
        flags = record.flags
        slot: Slot | None
        if not flags and record.grpc_status is None:
            slot = labels.slots.get(status)
        else:
            slot = labels.slots.get((status, flags, record.grpc_status))
        if slot is None:
            slot = self._series.open(labels, status, flags, record.grpc_status)
        duration_ms = (now - record.started) * 1e3
        slot.add(duration_ms, record.bytes_received, record.bytes_sent)
        if record.messages is not None:
            self._counted_messages.add(labels, record.messages[0], record.messages[1])
        if downstream.access_log:
            self._sequence += 1
            entry = self._packer.pack(
                record,
                target.entry,
                NO_UPSTREAM if upstream is None else upstream.entry,
                labels.entry,
                self._epoch_offset + record.started,
                duration_ms,
                self._sequence,
            )
            self._entries.append(entry)
            self._entry_bytes += len(entry)
            if self._entry_bytes >= self._message_bytes:
                self._gather()
        trace = record.trace
        if trace is not None and trace.flags & 1 and downstream.trace:
            slot.exemplify(duration_ms, trace.trace_id, self._epoch_offset + now)
            self._add_spans(record, now)

    def count_messages(self, record: RequestRecord, requests: int, responses: int) -> bool:
        """Messages of a gRPC call that goes on. False: it is not known yet between whom; the end will tell."""
        target = record.target
        downstream = record.downstream
        if target is None or (record.upstream is None and not downstream.inbound):
            return False
        if downstream.inbound:
            source = downstream.source
            if downstream.principal is not None:
                source = self._source(record.peer_metadata, downstream.principal)
            labels = target.sources.get(source) or self._inbound_labels(target, source)
        else:
            assert record.upstream is not None
            labels = record.upstream.labels
        self._counted_messages.add(labels, requests, responses)
        return True

    # What relayed connections have in common with requests

    def tcp_labels(self, record: TcpRecord) -> Labels:
        """The labels of a relayed connection, as known when it is opened."""
        downstream = record.downstream
        target = record.target
        if target is None:
            target = record.target = self._no_target
        if downstream.inbound:
            if downstream.principal is not None and downstream.source is self._nobody:
                downstream.source = self._source(None, downstream.principal)
            return target.sources.get(downstream.source) or self._inbound_labels(target, downstream.source)
        return target.labels if record.upstream is None else record.upstream.labels

    def begin_entry(self, started: float) -> tuple[float, int]:
        """For an access-log entry: when something began, in seconds since the Unix epoch, and the entry's number."""
        self._sequence += 1
        return self._epoch_offset + started, self._sequence

    def add_entry(self, entry: bytes) -> None:
        """Log what was packed elsewhere."""
        self._entries.append(entry)
        self._entry_bytes += len(entry)
        if self._entry_bytes >= self._message_bytes:
            self._gather()

    def _add_spans(self, record: RequestRecord, now: float) -> None:
        trace = record.trace
        if trace is None or len(self._spans) >= self._limits.max_spans:
            self._spans_dropped += 1
            return
        start_ns = int((self._epoch_offset + record.started) * 1e9)
        self._spans += make_spans(record, trace, start_ns, start_ns + int((now - record.started) * 1e9))

    def _gather(self) -> None:
        """A message is full: send or hold it; drop and count it where too much is held."""
        message = self._join_entries()
        if self._emit is not None:
            if self._emit(message) is False:
                self._entries_dropped += message.count
        elif self._message_bytes_held + len(message.entries) > self._limits.max_entry_bytes:
            self._entries_dropped += message.count
        else:
            self._messages.append(message)
            self._message_bytes_held += len(message.entries)

    def _join_entries(self) -> AccessLog:
        message = AccessLog(len(self._entries), b"".join(self._entries))
        self._entries = []
        self._entry_bytes = 0
        return message

    # Towards the agent

    def flush(
        self, counters: Sequence[Growth] = (), gauges: Sequence[Reading] = ()
    ) -> list[Metrics | AccessLog | Spans]:
        """What came together since the last flush, with others' counters and gauges beside ours. Call once a second;
        nothing to say is an empty list."""
        monotonic = self._clock.monotonic()
        relayed = self.tcp.flush(monotonic)
        messages: list[Metrics | AccessLog | Spans] = [*self._messages]
        if self._entries:
            messages.append(self._join_entries())
        self._messages = []
        self._message_bytes_held = 0
        if self._spans:
            messages.append(Spans(tuple(self._spans)))
            self._spans = []
        series = self._series.flush(monotonic)
        grown = [*counters, *relayed, *self._counted_messages.flush(), *self._growth()]
        if series or grown or gauges:
            messages.append(Metrics(tuple(series), tuple(grown), tuple(gauges)))
        # The wall clock may have been set; records to come take the new time.
        self._epoch_offset = self._clock.now() - monotonic
        return messages

    def _growth(self) -> list[Growth]:
        overflowed = self._series.overflowed - self._overflow_reported
        self._overflow_reported = self._series.overflowed
        counted = [
            ("remora_metrics_overflowed_requests_total", overflowed),
            ("remora_access_log_dropped_total", self._entries_dropped),
            ("remora_spans_dropped_total", self._spans_dropped),
            ("remora_requests_finished_twice_total", self._finished_twice),
        ]
        self._entries_dropped = self._spans_dropped = self._finished_twice = 0
        return [Growth(name, (), value) for name, value in counted if value]


def _service(cluster: Cluster) -> Service:
    """A cluster that stands for no service is called by its own name, as Istio does for PassthroughCluster."""
    if cluster.service.name == "unknown" and cluster.name in ("PassthroughCluster", "BlackHoleCluster"):
        return replace(cluster.service, name=cluster.name)
    return cluster.service
