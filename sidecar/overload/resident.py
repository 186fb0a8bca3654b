"""What the kernel says of memory and descriptors: how much this process uses, how much its cgroup may."""

import ctypes
import gc
import os
import resource
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED: Final = 2**60
"""cgroup v1 says "no limit" by a number near 2^63."""

MAX_DESCRIPTORS: Final = 1_048_576
"""The kernel's own default ceiling (fs.nr_open); tables for more would cost memory."""


def resident_bytes() -> int:
    """Of this process (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split(b" ", 2)[1]) * _PAGE_BYTES


def release_free_memory() -> None:
    """Collect cycles and have the C library return free pages to the system; where it is musl, collect only."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def cgroup_memory_bytes(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The lowest limit among this process's cgroup and those around it; None where there is none (cgroups(7)).

    In a container the path of the cgroup is often that outside of it: then the root is the container's own.
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            limits += _limits(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    own = mount / path.strip("/")
    found = []
    for directory in (own, *own.parents):
        text = _read(directory / name)
        if text is not None and text.isdigit() and int(text) < _UNLIMITED:
            found.append(int(text))
        if directory == mount:
            break
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def raise_descriptor_limit() -> int:
    """Use as many descriptors as we may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else MAX_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
