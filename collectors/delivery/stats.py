"""What a delivery says of itself, for /metrics and /healthz. Plain numbers; collectors/telemetry.py names them."""

from collections import Counter
from dataclasses import dataclass, field

from collectors.delivery.frames import Counts
from collectors.delivery.log import LogStats
from collectors.records import Batch


@dataclass(slots=True)
class DeliveryStats:
    """Counts since the process began, records by signal (`logs`, `traces`, `metrics`)."""

    disk: LogStats = field(default_factory=LogStats)
    buffered: Counter[str] = field(default_factory=Counter)
    """Acknowledged."""
    sent: Counter[str] = field(default_factory=Counter)
    """Stored by the back end."""
    again: Counter[str] = field(default_factory=Counter)
    """Sent without being stored, and sent again."""
    refused: Counter[str] = field(default_factory=Counter)
    """Written to the dead-letter file."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By signal and reason (`overflow`, `age`): given up as the user's policy says."""
    requests: Counter[str] = field(default_factory=Counter)
    """By outcome: `ok`, `partial`, `unavailable`, `too_large`, `failed`."""
    dead_letters_dropped: int = 0
    """Files of dead letters removed to keep within their bytes."""
    waiting: int = 0
    """Batches received and not yet durable."""
    in_flight: int = 0
    """Requests under way."""
    memory_bytes: int = 0
    """Of batches kept for the sender, as encoded."""
    oldest_time: float = 0.0
    """When the oldest record that is not delivered was buffered, seconds since the Unix epoch; 0: there is none."""
    syncs: int = 0
    sync_s: float = 0.0
    """Rounds of writing to the disk, and the seconds they took together."""
    stalled: str = ""
    """Why nothing can be acknowledged at present; empty when all is well."""
    last_error: str = ""
    """The back end's last failure."""
    last_error_time: float = 0.0
    failing_since: float = 0.0
    """When the present row of failures began, seconds since the Unix epoch; 0: the last request was answered."""


def count_batch(counter: "Counter[str]", batch: Batch, sign: int = 1) -> None:
    """Add a batch's records by signal."""
    if batch.logs:
        counter["logs"] += sign * len(batch.logs)
    if batch.spans:
        counter["traces"] += sign * len(batch.spans)
    if batch.samples:
        counter["metrics"] += sign * len(batch.samples)


def count_dropped(stats: DeliveryStats, lost: Counts, reason: str) -> None:
    """Count what was given up."""
    for signal, count in zip(("logs", "traces", "metrics"), lost, strict=True):
        if count:
            stats.dropped[signal, reason] += count
