"""Who of several control planes does what only one may do: leader election by a Lease, as client-go does it.

No clock is compared with another machine's. A candidate takes the lease when it has *seen the record unchanged* for the
record's own duration by its own steady clock; a leader counts from the moment before it sent a renewal that succeeded,
and stops `lease_s - renew_deadline_s` before anyone can take over. So clocks may be set as they like; only clocks that
run at rates more than `lease_s / renew_deadline_s` apart could have two leaders. Candidates see renewals by a watch, so
that a dead leader is followed when its term ends, and not when they would next have looked.

https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a lease holds. Raises ValueError for terms under which two could lead."""

    lease_s: int = 15
    """Others wait this long after they last saw a renewal. Whole seconds: the API says so."""
    renew_deadline_s: float = 10.0
    """A leader that could not renew for this long stops leading."""
    retry_s: float = 2.0
    """Between attempts."""
    jitter: float = 1.2
    """A candidate waits `retry_s` and up to this share of it more."""

    def __post_init__(self) -> None:
        if not self.lease_s >= 1:
            raise ValueError(f"a lease of {self.lease_s} s; it takes at least 1")
        if not self.lease_s > self.renew_deadline_s > self.jitter * self.retry_s > 0:
            raise ValueError(
                f"lease of {self.lease_s} s, renewal within {self.renew_deadline_s} s, retry every {self.retry_s} s: "
                f"each must be larger than the next, the last times {self.jitter}"
            )


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease's spec, and the version that an update has to name."""

    holder: str
    lease_s: int
    acquired: str
    renewed: str
    transitions: int
    version: str

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> "LeaseRecord":
        """From the API's object; what is missing is nobody's lease."""
        spec = lease.get("spec") or {}
        return cls(
            holder=str(spec.get("holderIdentity") or ""),
            lease_s=max(1, int(spec.get("leaseDurationSeconds") or 1)),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=str(spec.get("renewTime") or ""),
            transitions=int(spec.get("leaseTransitions") or 0),
            version=str(lease.get("metadata", {}).get("resourceVersion", "")),
        )

    def spec(self) -> Json:
        """The API's form."""
        spec: Json = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.lease_s,
            "leaseTransitions": self.transitions,
        }
        if self.acquired:
            spec["acquireTime"] = self.acquired
        if self.renewed:
            spec["renewTime"] = self.renewed
        return spec


@dataclass(frozen=True, slots=True)
class Seen:
    """A record, and when by our steady clock we first saw it so."""

    record: LeaseRecord
    at: float


class Move(Enum):
    """What to do about a lease now."""

    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


def see(before: Seen | None, record: LeaseRecord, now: float) -> Seen:
    """`now` counts only where the record says something new; an annotation, say, only makes a new version."""
    same = before is not None and replace(before.record, version=record.version) == record
    return Seen(record, before.at if before is not None and same else now)


def left_s(me: str, seen: Seen, now: float) -> float:
    """Seconds until another's lease may be taken; 0 where it may be now, or is nobody's, or ours. `now` is the clock
    that `seen` was measured by."""
    return 0.0 if seen.record.holder in ("", me) else max(0.0, seen.at + seen.record.lease_s - now)


def move(me: str, seen: Seen, now: float) -> Move:
    """`now` is the clock that `seen` was measured by."""
    if seen.record.holder == me:
        return Move.RENEW
    return Move.WAIT if left_s(me, seen, now) > 0 else Move.TAKE


def first(me: str, terms: LeaseTerms, now: float) -> LeaseRecord:
    """The record of a lease that nobody ever held. `now` is seconds since the epoch, to show people."""
    return LeaseRecord(me, terms.lease_s, micro_time(now), micro_time(now), 0, "")


def held(me: str, terms: LeaseTerms, record: LeaseRecord, now: float) -> LeaseRecord:
    """`record`, taken or renewed by us."""
    if record.holder == me:
        return replace(record, lease_s=terms.lease_s, renewed=micro_time(now))
    return LeaseRecord(me, terms.lease_s, micro_time(now), micro_time(now), record.transitions + 1, record.version)


def released(record: LeaseRecord, now: float) -> LeaseRecord:
    """`record`, given up: whoever sees it may take it at once."""
    return replace(record, holder="", lease_s=1, renewed=micro_time(now), acquired=micro_time(now))


def micro_time(now: float) -> str:
    """Kubernetes' MicroTime."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
