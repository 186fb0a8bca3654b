"""Filters that users wrote in Python, of a listener: their source, which requests meet them, and their bounds."""

from dataclasses import dataclass

MAX_FILTERS = 16
"""Of one listener."""

MAX_SOURCE_BYTES = 64 * 1024
MAX_CONFIG_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class FilterMatch:
    """Which requests meet a filter. What is empty matches everything; of several entries any suffices."""

    hosts: tuple[str, ...] = ()
    """Without port, in lower case: a name, or `*.suffix`."""
    routes: tuple[str, ...] = ()
    """Names of routes."""
    path_prefixes: tuple[str, ...] = ()
    """Of the path as the client sent it, segment by segment: `/a` is a prefix of `/a` and `/a/b`, not of `/ab`."""


@dataclass(frozen=True, slots=True)
class PythonFilter:
    """One filter. Its instance lives on as long as name, source, class and config stay the same."""

    name: str
    """`NAMESPACE/NAME` of the rule."""
    source: str
    """A module's text."""
    class_name: str
    """A class of that module, derived from `sidecar.filters.api.Filter`."""
    config: str = "{}"
    """A JSON object, given to the class."""
    match: FilterMatch = FilterMatch()
    timeout_s: float = 0.1
    """Of each call that waits; one that blocks has less, see `sidecar.filters.python_live`."""
    fail_open: bool = False
    """A request whose filter fails goes on as if there were none; else it is answered 503."""
    max_body_bytes: int = 64 * 1024
    """A longer body is no filter's to see: the request is answered 413 and the answer becomes a 503, or both go on."""
    after_fault: bool = True
    """Runs behind the fault filter, next to the router."""
