"""What fields say of a record as a whole: when it was, how bad it is, which trace it belongs to. No I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from collectors.receivers.entries import MAX_TIME_S
from collectors.receivers.events import severity_named, trace_id_of
from collectors.receivers.tail.formats import parse_time

TimeFormat = Literal["auto", "rfc3339", "unix", "unix_ms", "unix_us", "unix_ns"]

TIME_KEYS = ("time", "timestamp", "@timestamp", "ts", "start_time")
SEVERITY_KEYS = ("severity", "level", "log.level", "log_level", "loglevel", "lvl", "levelname", "severity_text")
TRACE_KEYS = ("trace_id", "traceId", "traceid", "trace.id", "otelTraceID", "TraceId")
SPAN_KEYS = ("span_id", "spanId", "spanid", "span.id", "otelSpanID", "SpanId")
_TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_SPAN = re.compile("[0-9a-f]{16}")
_SCALES = {"unix": 1.0, "unix_ms": 1e3, "unix_us": 1e6, "unix_ns": 1e9}
_MAX_TIME_CHARS = 64


def time_in(value: Any, how: str) -> float | None:
    """Seconds since the Unix epoch. `how` is a TimeFormat, or what strptime takes (with a %); times without a zone are
    UTC. `auto` takes RFC 3339, and numbers by their size: no log of this century is as old as its milliseconds would be
    as seconds."""
    if isinstance(value, str):
        if len(value) > _MAX_TIME_CHARS:
            return None
        if "%" in how:
            try:
                parsed = datetime.strptime(value, how)
            except ValueError:
                return None
            return _sane((parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp())
        if how in ("auto", "rfc3339"):
            found = parse_time(value.strip().replace(" ", "T", 1).replace(",", ".", 1))
            if found is not None or how == "rfc3339":
                return None if found is None else _sane(found)
        try:
            number = float(value)
        except ValueError:
            return None
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        return None
    if how == "auto":
        scale = next((scale for limit, scale in ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6)) if abs(number) < limit), 1e9)
    elif how in _SCALES:
        scale = _SCALES[how]
    else:
        return None
    return _sane(number / scale)


def _sane(time: float) -> float | None:
    return time if 0 < time < MAX_TIME_S else None


def severity_in(value: Any) -> str | None:
    """A name that loggers use, or a number of pino's and bunyan's (10 trace to 60 fatal)."""
    if isinstance(value, str):
        return severity_named(value)
    if isinstance(value, int) and not isinstance(value, bool) and 10 <= value <= 60:
        return "debug" if value <= 20 else "info" if value <= 30 else "warning" if value <= 40 else "error"
    return None


def trace_in(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Trace id (32 hex digits) and span id (16), by the keys that loggers use, or of a W3C `traceparent`."""
    trace = next((found for key in TRACE_KEYS if (found := trace_id_of(fields.get(key))) is not None), None)
    span = next((found for key in SPAN_KEYS if (found := _span_id(fields.get(key))) is not None), None)
    if trace is None:
        parent = fields.get("traceparent")
        match = _TRACEPARENT.fullmatch(parent) if isinstance(parent, str) else None
        if match is not None and (trace := trace_id_of(match[1])) is not None:
            span = span or match[2]
    return trace, span


def _span_id(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    lower = value.lower()
    return lower if _SPAN.fullmatch(lower) and lower.strip("0") else None
