"""W3C trace context: read, continue or begin a trace, write. Pure; ids and dice are injected.

https://www.w3.org/TR/trace-context-1/, and of level 2 the random-trace-id flag.
"""

import random

from sidecar.telemetry.request_id import IdSource

_SAMPLED = 1
_RANDOM = 2
_FLAGS = (b"00", b"01", b"02", b"03")
_ZERO_TRACE = b"0" * 32
_ZERO_SPAN = b"0" * 16

# Digits all look alike and dashes like themselves.
_SHAPE = bytes([48 if octet in b"0123456789abcdef" else 45 if octet == 45 else 0 for octet in range(256)])

_DIGITS = {digit: value for value, digit in enumerate(b"0123456789abcdef")}


class Trace:
    """One request's place in its trace, at this proxy."""

    __slots__ = ("client_id", "flags", "parent_id", "span_id", "trace_id")

    def __init__(
        self, trace_id: bytes, span_id: bytes, parent_id: bytes | None, flags: int, client_id: bytes | None = None
    ) -> None:
        self.trace_id = trace_id
        """32 hexadecimal digits."""
        self.span_id = span_id
        """Our span's, 16 hexadecimal digits."""
        self.parent_id = parent_id
        """The caller's span; None: the trace begins here, and a `tracestate` that came along means nothing."""
        self.flags = flags
        self.client_id = client_id
        """At a gateway, which records both sides: the span towards the upstream."""

    @property
    def sampled(self) -> bool:
        return self.flags & _SAMPLED != 0

    def render(self) -> bytes:
        """`traceparent` for the upstream: its parent is the last span of ours."""
        return b"00-%b-%b-%b" % (self.trace_id, self.client_id or self.span_id, _FLAGS[self.flags])

    def __repr__(self) -> str:
        return f"<Trace {self.render()!r}>"


def parse_traceparent(value: bytes) -> tuple[bytes, bytes, int] | None:
    """(trace id, parent id, flags) or None where the value is not one.

    A version that we do not know is read as version 00 if it begins like it (section 3.2.4); ff never.
    """
    if len(value) != 55:
        if len(value) < 55 or value[55:56] != b"-" or value[:2] == b"00":
            return None
        value = value[:55]
    if value.translate(_SHAPE) != b"00-00000000000000000000000000000000-0000000000000000-00":
        return None
    trace_id = value[3:35]
    parent_id = value[36:52]
    if trace_id == _ZERO_TRACE or parent_id == _ZERO_SPAN or value[:2] == b"ff":
        return None
    return trace_id, parent_id, _DIGITS[value[54]] & (_SAMPLED | _RANDOM)


class Tracer:
    """Begins or continues the trace of each request of a listener."""

    __slots__ = ("_both_sides", "_ids", "_random", "_share")

    def __init__(self, ids: IdSource, rng: random.Random, sampling_percent: float, *, both_sides: bool = False) -> None:
        """`sampling_percent` is of requests that begin a trace. `both_sides`: a gateway, with a span for each."""
        self._ids = ids
        self._random = rng.random
        self._share = sampling_percent / 100.0
        self._both_sides = both_sides

    def begin(self, traceparent: bytes | None) -> Trace:
        """The trace of a request with this header, or, where it has several or an unusable one, with None."""
        ids = self._ids
        if traceparent is not None:
            parent = parse_traceparent(traceparent)
            if parent is not None:
                trace_id, parent_id, flags = parent
                return Trace(trace_id, ids.span_id(), parent_id, flags, ids.span_id() if self._both_sides else None)
        flags = _SAMPLED if self._share > 0.0 and self._random() < self._share else 0
        return Trace(ids.trace_id(), ids.span_id(), None, flags, ids.span_id() if self._both_sides else None)
