"""What agent and worker say to each other over their Unix socket pair.

A frame is 4 bytes of length, big-endian, then a msgpack array `[kind, ...]`. Sockets travel beside the
frame that names them, by SCM_RIGHTS. Down: Listen, Apply, WindDown, Drain, Inspect, Tap, Untap, Ping. Up: Ready,
Applied, Refused, Metrics, AccessLog, Spans, Inspected, Tapped, TapCounts, Pong, Drained.
"""

from dataclasses import dataclass

from sidecar.config.endpoint import Address
from sidecar.config.snapshot import Snapshot
from sidecar.config.tap import TapFilter, TapRecord

MAX_FRAME_BYTES = 256 * 1024 * 1024
"""A longer frame is a broken peer: the channel closes."""


# Agent to worker


@dataclass(frozen=True, slots=True)
class Listen:
    """Sockets for these addresses are attached, in this order; accept on them once a snapshot's listener names them."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Warm up, then serve this; answered by Applied or Refused with the same sequence number."""

    sequence: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop accepting, finish what is in flight within `deadline_s`, flush, send Drained, exit 0."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class WindDown:
    """The application is about to end: inbound connections end with their next answer (`connection: close`, GOAWAY),
    and clients turn to others. New ones are still taken, since not every client knows yet; outbound goes on as ever."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask for the running state; answered by Inspected. `what` is "clusters" or "listeners"."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Tap:
    """Tell of the requests that match, as Tapped, until Untap; answered by a TapCount, from which on those that begin
    are told of. `number` is the agent's name for it."""

    number: int
    filter: TapFilter


@dataclass(frozen=True, slots=True)
class Untap:
    """Stop telling; answered by the tap's last TapCount, which is `closed`."""

    number: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered by Pong from the worker's event loop: who does not answer does not serve either."""


# Worker to agent


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker runs and reads its channel. `epoch` is unique to this process and part of record ids."""

    pid: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The snapshot serves."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The snapshot cannot serve; the previous one goes on. `resource` and `path` say what and where."""

    sequence: int
    resource: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A sampled request among those that a series counts."""

    bucket: int
    """Index of its duration's bucket."""
    trace_id: str
    duration_ms: float
    time: float
    """Of its end, seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class HttpSeries:
    """Growth of one combination of labels since the worker's last Metrics. Bucket lists are not cumulative and
    end with the overflow bucket: len(BUCKETS) + 1 integers."""

    labels: tuple[str, ...]
    """In the order of mesh.records.HTTP_LABELS."""
    requests: int
    duration_ms_sum: float
    duration_buckets: tuple[int, ...]
    request_bytes_sum: int
    request_buckets: tuple[int, ...]
    response_bytes_sum: int
    response_buckets: tuple[int, ...]
    exemplars: tuple[Exemplar, ...] = ()
    """The latest of each bucket of durations, where one was sampled."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of a counter, e.g. `envoy_cluster_upstream_cx_total` {envoy_cluster_name: ...}."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's present value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was counted since the last one, and every gauge; sent once a second when there is any."""

    http: tuple[HttpSeries, ...]
    counters: tuple[Growth, ...]
    gauges: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class AccessLog:
    """`count` forward-protocol entries, each msgpack `[EventTime, {mesh.records.ACCESS_KEYS}]`, joined: ready to be
    sent as one PackedForward without being decoded again."""

    count: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span. Times are nanoseconds since the Unix epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    server: bool
    """SERVER where the request came in, CLIENT where it goes out."""
    name: str
    start_ns: int
    end_ns: int
    attributes: tuple[tuple[str, str], ...]
    """OpenTelemetry HTTP semantic conventions; numbers as decimal text for keys that end in status_code or .size or
    .port."""
    error: bool = False


@dataclass(frozen=True, slots=True)
class Spans:
    """Sampled requests' spans."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Inspected:
    """JSON text: for "clusters", Envoy admin `/clusters?format=json`'s shape; for "listeners", `/listeners`'s."""

    sequence: int
    json: str


@dataclass(frozen=True, slots=True)
class Tapped:
    """A request that these taps asked for. Dropped rather than waited for; TapCounts tells."""

    taps: tuple[int, ...]
    record: TapRecord


@dataclass(frozen=True, slots=True)
class TapCount:
    """Growth since the last one."""

    number: int
    matched: int
    dropped: int
    """Of the matched: there was no room, in memory or in the channel."""
    closed: bool = False
    """Nothing more comes of this tap."""


@dataclass(frozen=True, slots=True)
class TapCounts:
    """Of every tap that saw something; once a second, after the records that it counts."""

    counts: tuple[TapCount, ...]


@dataclass(frozen=True, slots=True)
class Pong:
    """The worker's loop turns."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is in flight any more, or the deadline passed with `abandoned` requests cut off."""

    abandoned: int


ToWorker = Listen | Apply | WindDown | Drain | Inspect | Tap | Untap | Ping
ToAgent = Ready | Applied | Refused | Metrics | AccessLog | Spans | Inspected | Tapped | TapCounts | Pong | Drained
