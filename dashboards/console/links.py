"""Addresses between the console's pages, and what their parameters may be. Pure.

Names from telemetry are always quoted, and what comes back in an address is checked before anything is asked with it.
"""

import re
from urllib.parse import quote, urlencode

WINDOWS_S: dict[str, float] = {"30s": 30, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600}
"""Windows to look at, by the word in the address."""

WINDOW_NAMES = {"30s": "30 s", "1m": "1 min", "5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h"}

SEVERITIES = ("error", "warning", "info", "debug")

ERROR_KINDS = {
    "exception": "Exception", "message": "Logged as an error", "response": "Answer of 5xx", "span": "Failed span",
}  # fmt: skip
"""What a group of errors is of, and how it is called."""

MAX_TEXT_CHARS = 500
"""A search longer than this was not typed."""

_TRACE_ID = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?\Z")


def trace(trace_id: str) -> str:
    """A trace's page."""
    return f"/traces/{quote(trace_id, safe='')}"


def traces(**filters: str) -> str:
    """The trace search: service, text, min_ms, errors."""
    return _with("/traces", filters)


def logs(**filters: str) -> str:
    """The log search: workload, text, severity, trace_id."""
    return _with("/logs", filters)


def graph(**parameters: str) -> str:
    """The graph: window, view, node."""
    return _with("/", parameters)


def services(**parameters: str) -> str:
    """The services: service, window."""
    return _with("/services", parameters)


def errors(**filters: str) -> str:
    """The groups of errors: text, service, kind, new, window."""
    return _with("/errors", filters)


def _with(path: str, parameters: dict[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return path + ("?" + urlencode(given) if given else "")


def is_trace_id(text: str) -> bool:
    """32 (or, of old tracers, 16) lower-case hexadecimal digits."""
    return _TRACE_ID.match(text) is not None


def window(text: str, default: str) -> str:
    """A word of WINDOWS_S."""
    return text if text in WINDOWS_S else default


def severity(text: str) -> str:
    """A severity, or nothing."""
    return text if text in SEVERITIES else ""


def error_kind(text: str) -> str:
    """One of ERROR_KINDS, or nothing."""
    return text if text in ERROR_KINDS else ""


def search_text(text: str) -> str:
    """A text to search for, without what nobody types."""
    return text.replace("\0", "")[:MAX_TEXT_CHARS]


def milliseconds(text: str) -> float:
    """A number from 0 up; anything else is 0."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    # Also false for NaN.
    return value if 0 <= value < 1e9 else 0.0
