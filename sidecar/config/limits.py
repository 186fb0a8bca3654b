"""What one worker process may use, whatever the control plane says: from the sidecar's flags, by the agent's hand."""

from dataclasses import dataclass

MIN_MEMORY_BYTES = 64 * 1024 * 1024
"""A memory limit below this would shed the first request: a worker at rest has about 40 MiB."""

CGROUP_SHARE = 0.75
"""Of the cgroup's memory limit that the workers together may use by default; the rest is the agent's."""

DESCRIPTOR_SHARE = 0.75
"""Of the descriptors that clients may take by default; the rest is for connections to upstreams."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Of one worker."""

    max_connections: int = 0
    """Connections of clients at once, over all listeners; what comes beyond is closed at once. 0: no limit."""
    max_listener_connections: int = 0
    """The same for each listener."""
    memory_bytes: int = 0
    """Resident memory at which nothing new is served, see `sidecar.overload.memory`. 0: no limit."""
