"""Whether a trace is worth keeping. Pure, but for the buckets of rate limits: those count what they let through."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

from collectors.processors.tail_sampling.settings import (
    Always,
    And,
    Attribute,
    Errors,
    Policy,
    Rate,
    RateLimit,
    Slow,
)
from collectors.records import SpanRecord

Spans = Sequence[SpanRecord]
Judge = Callable[[str, Spans, float], bool]
"""Of a trace's id (32 hex digits), its spans, and the time in monotonic seconds."""

_HASHES = 2**64


class Policies:
    """All of a processor."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._judges = [(policy.name or policy.type, _judge(policy)) for policy in policies]

    def keeper(self, trace_id: str, spans: Spans, now: float) -> str | None:
        """The name of the first policy that keeps the trace; None: it is dropped."""
        return next((name for name, keeps in self._judges if keeps(trace_id, spans, now)), None)


def _judge(policy: Policy) -> Judge:
    match policy:
        case Always():
            return lambda _id, _spans, _now: True
        case Errors():
            return lambda _id, spans, _now: any(span.error for span in spans)
        case Slow():
            threshold_s = policy.threshold
            return lambda _id, spans, _now: duration_s(spans) >= threshold_s
        case Rate():
            return _rate(policy)
        case RateLimit():
            return _Bucket(policy.spans_per_second).keeps
        case Attribute():
            matches = _matcher(policy)
            return lambda _id, spans, _now: any(matches(value) for value in _values(spans, policy.key))
        case And():
            judges = [_judge(one) for one in policy.policies]
            return lambda id_, spans, now: all(keeps(id_, spans, now) for keeps in judges)
        case _:
            assert_never(policy)


def duration_s(spans: Spans) -> float:
    """From the first start to the last end."""
    times = [span.nanos() for span in spans]
    return (max(end for _, end in times) - min(start for start, _ in times)) / 1e9


def _rate(policy: Rate) -> Judge:
    # A hash rather than the id's own digits: not everyone's ids are random in all of them.
    salt = policy.salt.encode("utf-8", "replace")[:64]
    bound = int(policy.percent / 100 * _HASHES)

    def keeps(trace_id: str, _spans: Spans, _now: float) -> bool:
        digest = hashlib.blake2b(bytes.fromhex(trace_id), digest_size=8, key=salt).digest()
        return int.from_bytes(digest, "big") < bound

    return keeps


class _Bucket:
    """Tokens for spans. A trace passes while there is one, and takes as many as it has spans: a trace that is larger
    than the bucket is paid for by those after it."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._capacity = max(1.0, per_s)
        self._tokens = self._capacity
        self._at: float | None = None

    def keeps(self, _trace_id: str, spans: Spans, now: float) -> bool:
        """See Judge."""
        if self._at is not None:
            self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= len(spans)
        return True


def _values(spans: Spans, key: str) -> Iterator[Any]:
    seen: set[int] = set()
    for span in spans:
        if key in span.attributes:
            yield span.attributes[key]
        if id(span.resource) not in seen:
            seen.add(id(span.resource))
            if key in span.resource:
                yield span.resource[key]


def _matcher(policy: Attribute) -> Callable[[Any], bool]:
    if policy.values:
        # 1 and true are the same to Python, and not to whoever wrote them.
        wanted = {(isinstance(value, bool), value) for value in policy.values}
        return lambda value: isinstance(value, str | int | float) and (isinstance(value, bool), value) in wanted
    if policy.pattern is not None:
        search = policy.pattern.search
        return lambda value: search(value if isinstance(value, str) else str(value)) is not None
    least = -float("inf") if policy.min is None else policy.min
    most = float("inf") if policy.max is None else policy.max
    if policy.min is None and policy.max is None:
        return lambda _value: True
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
