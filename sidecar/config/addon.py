"""Scripts that look at requests, and may change them, in a process of their own. Of a listener."""

from dataclasses import dataclass

MAX_ADDONS = 16
"""Of one listener."""

MAX_ADDON_BODY_BYTES = 16 * 1024 * 1024
MAX_ADDON_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Addon:
    """Which requests meet a script, and what becomes of them when it fails. Conditions are those of a tap."""

    name: str
    """`NAMESPACE/NAME` of the rule."""
    script: str
    """A file's name in the sidecar's addon directory: whoever writes rules can name what its operator put there, no
    other."""
    path: str = ""
    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Globs; any of them suffices."""
    headers: tuple[tuple[str, str | None], ...] = ()
    routes: tuple[str, ...] = ()
    """Names of routes; any of them suffices."""
    sample_percent: float = 100.0
    timeout_s: float = 0.5
    """For a request, and again for its answer."""
    fail_open: bool = False
    """The request or answer goes on as it is when the script fails or is too slow; else it is answered 500."""
    max_body_bytes: int = 64 * 1024
    """A longer body is not shown to the script, and not changed by it."""
