"""Relayed connections: Istio's TCP metrics, counted while a connection lives, and one access-log entry at its end.

Unlike a request, a connection may live for days: what it carries is counted at each flush. No I/O, no clock.
https://istio.io/latest/docs/reference/config/metrics/ (TCP)
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mesh.records import ACCESS_KEYS, TCP_LABELS
from sidecar.config.messages import Growth
from sidecar.telemetry.bindings import Downstream, Target, Upstream
from sidecar.telemetry.entry import NO_UPSTREAM, pack_pairs
from sidecar.telemetry.series import Labels

if TYPE_CHECKING:
    from sidecar.telemetry.recorder import Telemetry

_OVERFLOW: Final = "overflow"
_TIME: Final = struct.Struct(">3sII3s")
_HEADER: Final = b"\xde" + len(ACCESS_KEYS).to_bytes(2, "big")
_SAID: Final = frozenset(
    [
        "id", "workload", "namespace", "direction", "start_time", "protocol", "response_code", "response_flags",
        "response_code_details", "bytes_received", "bytes_sent", "duration", "upstream_host", "upstream_cluster",
        "upstream_transport_failure_reason", "downstream_local_address", "downstream_remote_address",
        "requested_server_name", "route_name", "source_principal", "source_workload", "destination_service", "attempts",
    ]
)  # fmt: skip
_SILENT: Final = pack_pairs([(key, None) for key in ACCESS_KEYS if key not in _SAID])
"""Of a request, and of no connection."""


class TcpRecord:
    """One relayed connection. The relay adds to `received` and `sent` as bytes pass; times are monotonic seconds."""

    __slots__ = (
        "attempts", "counted_received", "counted_sent", "details", "downstream", "failure", "finished", "flags",
        "labels", "received", "sent", "started", "target", "upstream",
    )  # fmt: skip

    def __init__(self, downstream: Downstream, started: float) -> None:
        self.downstream = downstream
        self.started = started
        self.target: Target | None = None
        self.upstream: Upstream | None = None
        """The endpoint that it is relayed to, or that was tried last."""
        self.received = 0
        """Bytes from the client."""
        self.sent = 0
        """Bytes to the client."""
        self.flags = ""
        """Envoy's response flags, joined by commas."""
        self.details = ""
        self.failure: str | None = None
        """Why the last endpoint tried could not be reached."""
        self.attempts = 0
        self.labels: Labels | None = None
        """Known once it is decided where the connection goes."""
        self.counted_received = 0
        self.counted_sent = 0
        self.finished = False

    def add_flag(self, flag: str) -> None:
        """Note a response flag, once."""
        if not self.flags:
            self.flags = flag
        elif flag not in self.flags.split(","):
            self.flags += "," + flag


class _Slot:
    """One combination of labels since the last flush."""

    __slots__ = ("closed", "idle_since", "key", "opened", "received", "sent")

    def __init__(self, key: tuple[tuple[str, str], ...]) -> None:
        self.key = key
        self.opened = self.closed = self.received = self.sent = 0
        self.idle_since: float | None = None

    def take(self) -> Iterator[Growth]:
        for name, value in (
            ("istio_tcp_connections_opened_total", self.opened),
            ("istio_tcp_connections_closed_total", self.closed),
            ("istio_tcp_received_bytes_total", self.received),
            ("istio_tcp_sent_bytes_total", self.sent),
        ):
            if value:
                yield Growth(name, self.key, value)
        self.opened = self.closed = self.received = self.sent = 0


class TcpTelemetry:
    """Of one worker. A connection is `opened` once and `closed` once."""

    def __init__(self, telemetry: "Telemetry", *, max_series: int, idle_s: float) -> None:
        self._telemetry = telemetry
        self._max_series = max_series
        self._idle_s = idle_s
        self._live: set[TcpRecord] = set()
        self._slots: dict[tuple[str, tuple[str, ...], str, str], _Slot] = {}
        self._overflow: dict[str, _Slot] = {}

    def opened(self, record: TcpRecord) -> None:
        """It is decided where the connection goes, or that it goes nowhere."""
        record.labels = self._telemetry.tcp_labels(record)
        self._slot(record.labels, "").opened += 1
        self._live.add(record)

    def closed(self, record: TcpRecord, now: float) -> None:
        """It is over; `now` is of the monotonic clock. Again does nothing."""
        if record.finished:
            return
        record.finished = True
        if record.labels is None:
            self.opened(record)
        labels = record.labels
        assert labels is not None
        self._count(record, labels)
        self._live.discard(record)
        self._slot(labels, record.flags).closed += 1
        if record.downstream.access_log:
            began, number = self._telemetry.begin_entry(record.started)
            self._telemetry.add_entry(_pack(record, labels, began, (now - record.started) * 1e3, number))

    def flush(self, now: float) -> list[Growth]:
        """What grew since the last flush, of connections that live too."""
        for record in self._live:
            if record.labels is not None:
                self._count(record, record.labels)
        grown: list[Growth] = []
        for key, slot in list(self._slots.items()):
            growth = list(slot.take())
            if growth:
                slot.idle_since = None
                grown += growth
            elif slot.idle_since is None:
                slot.idle_since = now
            elif now - slot.idle_since >= self._idle_s:
                del self._slots[key]
        for slot in self._overflow.values():
            grown += slot.take()
        return grown

    def _count(self, record: TcpRecord, labels: Labels) -> None:
        received = record.received - record.counted_received
        sent = record.sent - record.counted_sent
        if received or sent:
            slot = self._slot(labels, "")
            slot.received += received
            slot.sent += sent
            record.counted_received = record.received
            record.counted_sent = record.sent

    def _slot(self, labels: Labels, flags: str) -> _Slot:
        key = (labels.reporter, labels.ends, labels.policy, flags)
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= self._max_series:
                return self._overflow_slot(labels.reporter)
            values = (labels.reporter, *labels.ends, "tcp", flags or "-", labels.policy)
            slot = self._slots[key] = _Slot(tuple(zip(TCP_LABELS, values, strict=True)))
        return slot

    def _overflow_slot(self, reporter: str) -> _Slot:
        slot = self._overflow.get(reporter)
        if slot is None:
            values = [reporter if name == "reporter" else _OVERFLOW for name in TCP_LABELS]
            slot = self._overflow[reporter] = _Slot(tuple(zip(TCP_LABELS, values, strict=True)))
        return slot


def _pack(record: TcpRecord, labels: Labels, began: float, duration_ms: float, number: int) -> bytes:
    """An entry as `sidecar.telemetry.entry` has it for requests; `began` is seconds since the Unix epoch."""
    second = int(began)
    micros = int((began - second) * 1e6)
    start = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{micros:06d}Z"
    own = pack_pairs(
        [
            ("start_time", start),
            ("protocol", "TCP"),
            ("response_code", 0),
            ("response_flags", record.flags or "-"),
            ("response_code_details", record.details or None),
            ("bytes_received", record.received),
            ("bytes_sent", record.sent),
            ("duration", duration_ms),
            ("upstream_transport_failure_reason", record.failure),
            ("attempts", record.attempts),
        ]
    )
    target = record.target
    upstream = record.upstream
    return b"".join(
        (
            _TIME.pack(b"\x92\xd7\x00", second, micros * 1000, _HEADER),
            own,
            _SILENT,
            b"" if target is None else target.entry,
            NO_UPSTREAM if upstream is None else upstream.entry,
            labels.entry,
            record.downstream.entry,  # ends with the id's beginning
            b"%012d" % number,
        )
    )
