"""What the agent tells its workers about limits: their flags, the cgroup's memory limit divided among them."""

from collections.abc import Callable

from sidecar.bootstrap import Bootstrap
from sidecar.config.limits import CGROUP_SHARE, MIN_MEMORY_BYTES
from sidecar.overload.resident import cgroup_memory_bytes


def limit_flags(bootstrap: Bootstrap, cgroup: Callable[[], int | None] = cgroup_memory_bytes) -> tuple[str, ...]:
    """`--max-connections` and so on, for `python -m sidecar.worker`."""
    flags = [
        f"--memory-limit={_memory_bytes(bootstrap, cgroup)}",
        f"--max-listener-connections={bootstrap.max_listener_connections}",
    ]
    if bootstrap.max_connections is not None:
        flags.append(f"--max-connections={bootstrap.max_connections}")
    return tuple(flags)


def _memory_bytes(bootstrap: Bootstrap, cgroup: Callable[[], int | None]) -> int:
    if bootstrap.memory_limit_bytes is not None:
        return bootstrap.memory_limit_bytes
    limit = cgroup()
    if limit is None:
        return 0
    return max(MIN_MEMORY_BYTES, int(limit * CGROUP_SHARE / bootstrap.concurrency))
