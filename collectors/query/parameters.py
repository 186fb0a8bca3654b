"""Parameters of Jaeger's HTTP API, as its parser takes them (jaegertracing/jaeger, cmd/query/app/query_parser.go), with
bounds of ours. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.query.backend import TraceQuery

Parameters = Mapping[str, Sequence[str]]
"""Values by name, as urllib.parse.parse_qs gives them."""

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_500
DEFAULT_LOOKBACK_US = 48 * 3600 * 1_000_000
"""Of a search without `start`: Jaeger's two days."""
MAX_LOOKBACK_US = 31 * 24 * 3600 * 1_000_000
"""Between `start` and `end`, and of dependencies."""
DEFAULT_DEPENDENCY_LOOKBACK_US = 24 * 3600 * 1_000_000
MAX_TAGS = 32
MAX_TRACE_IDS = 100
_LAST_US = 253_402_300_799 * 1_000_000
_DURATION = re.compile(r"[+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
_NUMBER = re.compile(r"[+-]?\d{1,19}")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")


class BadParameter(Exception):
    """The text goes to the client."""


@dataclass(frozen=True, slots=True)
class Search:
    """What /api/traces asks for: traces of these ids, or else the query."""

    query: TraceQuery
    trace_ids: tuple[str, ...]


def search(parameters: Parameters, now_us: int) -> Search:
    """Of /api/traces. Raises BadParameter. `lookback` is the user interface's own, which sends `start` with it."""
    end_us = _time(parameters, "end", 1, now_us)
    start_us = _time(parameters, "start", 1, now_us - DEFAULT_LOOKBACK_US)
    tags = _tags(parameters)
    limit = _limit(parameters)
    minimum, maximum = (_duration(parameters, name) for name in ("minDuration", "maxDuration"))
    trace_ids = tuple(trace_id(text) for text in parameters.get("traceID", ())[: MAX_TRACE_IDS + 1])
    if len(trace_ids) > MAX_TRACE_IDS:
        raise BadParameter(f"at most {MAX_TRACE_IDS} parameters 'traceID'")
    service = first(parameters, "service")
    if not trace_ids and not service:
        raise BadParameter("parameter 'service' is required")
    if minimum and maximum and maximum < minimum:
        raise BadParameter("'maxDuration' should be greater than 'minDuration'")
    if not trace_ids and start_us > end_us:
        raise BadParameter("Start Time Minimum is above Maximum")
    if not trace_ids and end_us - start_us > MAX_LOOKBACK_US:
        raise BadParameter(f"'start' to 'end' is more than {MAX_LOOKBACK_US // 86_400_000_000} days: ask for less")
    query = TraceQuery(service, first(parameters, "operation"), tags, max(0, start_us), end_us, minimum, maximum, limit)
    return Search(query, trace_ids)


def dependencies(parameters: Parameters, now_us: int) -> tuple[int, int]:
    """Of /api/dependencies: `endTs` and `lookback`, given in milliseconds, as microseconds. Raises BadParameter."""
    end_us = _time(parameters, "endTs", 1_000, now_us)
    lookback_us = _time(parameters, "lookback", 1_000, DEFAULT_DEPENDENCY_LOOKBACK_US)
    if not 0 <= lookback_us <= MAX_LOOKBACK_US:
        raise BadParameter(f"'lookback' is to be 0 to {MAX_LOOKBACK_US // 1_000} milliseconds")
    return end_us, lookback_us


def trace_id(text: str) -> str:
    """32 hex digits. Raises BadParameter."""
    if not _TRACE_ID.fullmatch(text):
        shown = text[:40]
        raise BadParameter(f"cannot parse traceID param: {shown!r} is not 1 to 32 hexadecimal digits")
    return text.lower().rjust(32, "0")


def first(parameters: Parameters, name: str) -> str:
    """The first value; empty if there is none."""
    return next(iter(parameters.get(name, ())), "")


def is_true(parameters: Parameters, name: str) -> bool:
    """As Go reads booleans; what is none is false."""
    return first(parameters, name) in ("1", "t", "T", "true", "TRUE", "True")


def _time(parameters: Parameters, name: str, unit_us: int, default: int) -> int:
    text = first(parameters, name)
    if not text:
        return default
    if not _NUMBER.fullmatch(text):
        raise BadParameter(f"unable to parse param '{name}': {text[:40]!r} is no whole number")
    value = int(text) * unit_us
    if abs(value) > _LAST_US:
        raise BadParameter(f"unable to parse param '{name}': {text[:40]!r} is out of range")
    return value


def _duration(parameters: Parameters, name: str) -> int:
    text = first(parameters, name)
    if text in ("", "0"):
        return 0
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise BadParameter(f"unable to parse param '{name}': {text[:40]!r} is no duration such as 1.5ms, 2s or 1h10m")
    microseconds = sum(float(number) * _UNITS_US[unit] for number, unit in _PART.findall(text))
    return int(min(microseconds, float(_LAST_US)))


def _limit(parameters: Parameters) -> int:
    text = first(parameters, "limit")
    if not text:
        return DEFAULT_LIMIT
    if not _NUMBER.fullmatch(text) or int(text) < 0:
        raise BadParameter(f"unable to parse param 'limit': {text[:40]!r} is no whole number")
    if int(text) > MAX_LIMIT:
        raise BadParameter(f"'limit' is to be at most {MAX_LIMIT}")
    return int(text) or DEFAULT_LIMIT


def _tags(parameters: Parameters) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in parameters.get("tag", ()):
        key, colon, value = text.partition(":")
        if not colon:
            raise BadParameter(f"malformed 'tag' parameter, expecting key:value, received: {text[:100]}")
        found[key] = value
    for text in parameters.get("tags", ()):
        try:
            pairs = json.loads(text)
        except (ValueError, RecursionError):
            raise BadParameter("malformed 'tags' parameter, cannot unmarshal JSON") from None
        if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
            raise BadParameter("malformed 'tags' parameter, it is to be a JSON object of strings")
        found |= pairs
    if len(found) > MAX_TAGS:
        raise BadParameter(f"at most {MAX_TAGS} tags")
    return found
