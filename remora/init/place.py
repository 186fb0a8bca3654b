"""Where the command runs: in a pod, as is meant, or on a machine whose every connection it would take away."""

import os
from pathlib import Path

_PROC = Path("/proc")
_INIT = {"systemd", "init", "launchd"}


def is_the_machines_own(proc: Path = _PROC) -> bool:
    """Whether this network namespace is that of the machine's first process.

    In a container the first process is the container's own, or a sandbox's. False where it cannot be found out.
    """
    try:
        name = (proc / "1" / "comm").read_text("ascii", "replace").strip()
        same = os.readlink(proc / "1" / "ns" / "net") == os.readlink(proc / "thread-self" / "ns" / "net")
    except OSError:
        return False
    return same and name in _INIT
