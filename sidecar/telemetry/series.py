"""Istio's HTTP metrics as plain integers: one slot per combination of labels, found without building the labels.

Bounded: beyond `max_series` requests are counted in one overflow series per reporter and status. Idle slots are let go.
"""

from bisect import bisect_left

from mesh.records import DURATION_BUCKETS_MS, HTTP_LABELS, SIZE_BUCKETS_BYTES, Workload
from sidecar.config.cluster import Service
from sidecar.config.messages import Exemplar, HttpSeries

_DURATIONS = tuple(float(bound) for bound in DURATION_BUCKETS_MS)
# Sizes are whole: a bound of 0.5 holds what 0 does, and comparing integers with integers is quicker.
_SIZES = tuple(int(bound) for bound in SIZE_BUCKETS_BYTES)
_OVERFLOW = "overflow"

Outcome = int | tuple[int, str, int | None]
"""A status; with response flags or gRPC status, those too."""


class Slot:
    """One series since the last flush."""

    __slots__ = (
        "duration_buckets", "duration_ms_sum", "exemplars", "idle_since", "labels", "request_buckets",
        "request_bytes_sum", "requests", "response_buckets", "response_bytes_sum",
    )  # fmt: skip

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.idle_since: float | None = None
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.duration_ms_sum = 0.0
        self.duration_buckets = [0] * (len(_DURATIONS) + 1)
        self.request_bytes_sum = 0
        self.request_buckets = [0] * (len(_SIZES) + 1)
        self.response_bytes_sum = 0
        self.response_buckets = [0] * (len(_SIZES) + 1)
        self.exemplars: dict[int, Exemplar] | None = None

    def add(self, duration_ms: float, request_bytes: int, response_bytes: int) -> None:
        """Count one request."""
        self.requests += 1
        self.duration_ms_sum += duration_ms
        self.duration_buckets[bisect_left(_DURATIONS, duration_ms)] += 1
        if request_bytes:  # the others are filled in when flushed
            self.request_bytes_sum += request_bytes
            self.request_buckets[bisect_left(_SIZES, request_bytes)] += 1
        if response_bytes:
            self.response_bytes_sum += response_bytes
            self.response_buckets[bisect_left(_SIZES, response_bytes)] += 1

    def exemplify(self, duration_ms: float, trace_id: bytes, at: float) -> None:
        """A request that was counted has a trace that is kept; `at` is its end, seconds since the Unix epoch."""
        bucket = bisect_left(_DURATIONS, duration_ms)
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[bucket] = Exemplar(bucket, trace_id.decode("ascii"), duration_ms, at)

    def take(self) -> HttpSeries:
        """The growth, and begin anew."""
        self.request_buckets[0] += self.requests - sum(self.request_buckets)
        self.response_buckets[0] += self.requests - sum(self.response_buckets)
        series = HttpSeries(
            self.labels,
            self.requests,
            self.duration_ms_sum,
            tuple(self.duration_buckets),
            self.request_bytes_sum,
            tuple(self.request_buckets),
            self.response_bytes_sum,
            tuple(self.response_buckets),
            () if self.exemplars is None else tuple(self.exemplars.values()),
        )
        self.reset()
        return series


class Labels:
    """All labels but those of the outcome, with the slots of the outcomes seen."""

    __slots__ = ("ends", "entry", "policy", "reporter", "slots")

    def __init__(self, reporter: str, ends: tuple[str, ...], policy: str, entry: bytes) -> None:
        self.reporter = reporter
        self.ends = ends
        """From source_workload to destination_cluster."""
        self.policy = policy
        self.entry = entry
        """Their part of an access-log entry."""
        self.slots: dict[Outcome, Slot] = {}


def ends(source: Workload, destination: Workload, service: Service) -> tuple[str, ...]:
    """The labels of both ends, in Istio's order."""
    return (
        source.name,
        source.canonical_service,
        source.canonical_revision,
        source.namespace,
        source.principal,
        source.app,
        source.version,
        source.cluster,
        destination.name,
        destination.namespace,
        destination.principal,
        destination.app,
        destination.version,
        service.host,
        destination.canonical_service,
        destination.canonical_revision,
        service.name,
        service.namespace,
        destination.cluster,
    )


class SeriesTable:
    """Every series of a worker."""

    def __init__(self, *, max_series: int = 10_000, idle_s: float = 600.0) -> None:
        self._max_series = max_series
        self._idle_s = idle_s
        self._labels: dict[tuple[str, tuple[str, ...], str], Labels] = {}
        self._slots: list[tuple[Labels, Outcome, Slot]] = []
        self._overflow: dict[tuple[str, int], Slot] = {}
        self.overflowed = 0
        """Requests that were counted in an overflow series."""

    def __len__(self) -> int:
        return len(self._slots)

    def labels(self, reporter: str, both: tuple[str, ...], policy: str, entry: bytes) -> Labels:
        """The one object for these labels, as long as any of its series is alive."""
        key = (reporter, both, policy)
        found = self._labels.get(key)
        if found is None:
            found = Labels(reporter, both, policy, entry)
            if len(self._labels) < self._max_series:  # beyond, equal ones may exist twice: their growth adds up
                self._labels[key] = found
        return found

    def open(self, labels: Labels, status: int, flags: str, grpc_status: int | None) -> Slot:
        """The slot of an outcome that `labels` has none for yet; an overflow slot where there are too many."""
        if len(self._slots) >= self._max_series:
            self.overflowed += 1
            return self._overflow_slot(labels.reporter, status)
        grpc = "" if grpc_status is None else str(grpc_status)
        protocol = "http" if grpc_status is None else "grpc"
        slot = Slot((labels.reporter, *labels.ends, protocol, str(status), grpc, flags or "-", labels.policy))
        outcome: Outcome = status if not flags and grpc_status is None else (status, flags, grpc_status)
        labels.slots[outcome] = slot
        self._slots.append((labels, outcome, slot))
        return slot

    def _overflow_slot(self, reporter: str, status: int) -> Slot:
        slot = self._overflow.get((reporter, status))
        if slot is None:
            known = {"reporter": reporter, "response_code": str(status)}
            slot = Slot(tuple([known.get(name, _OVERFLOW) for name in HTTP_LABELS]))
            self._overflow[reporter, status] = slot
        return slot

    def flush(self, now: float) -> list[HttpSeries]:
        """What grew since the last flush; `now` is of the monotonic clock. Lets go of what has been idle too long."""
        series: list[HttpSeries] = []
        expired = False
        for _, _, slot in self._slots:
            if slot.requests:
                slot.idle_since = None
                series.append(slot.take())
            elif slot.idle_since is None:
                slot.idle_since = now
            elif now - slot.idle_since >= self._idle_s:
                expired = True
        series += [slot.take() for slot in self._overflow.values() if slot.requests]
        if expired:
            self._expire(now)
        return series

    def _expire(self, now: float) -> None:
        kept: list[tuple[Labels, Outcome, Slot]] = []
        for labels, outcome, slot in self._slots:
            if slot.idle_since is not None and now - slot.idle_since >= self._idle_s:
                del labels.slots[outcome]
            else:
                kept.append((labels, outcome, slot))
        self._slots = kept
        self._labels = {key: labels for key, labels in self._labels.items() if labels.slots}
