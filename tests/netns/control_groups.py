"""Control groups as a kubelet makes them, real ones, where the machine lets them be made."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_HIERARCHIES = (_ROOT, _ROOT / "unified", _ROOT / "systemd")
"""Version 2 alone; beside version 1; version 1's one without a controller, in which any process may be put anywhere."""


@contextlib.contextmanager
def of_pod(uid: str) -> Iterator[Path]:
    """The group of a container of that pod, gone at the end. Raises OSError where none can be made here."""
    hierarchy = next((each for each in _HIERARCHIES if (each / "cgroup.procs").exists()), None)
    if hierarchy is None:
        raise OSError("no hierarchy of control groups is mounted at /sys/fs/cgroup")
    slices = hierarchy / f"remora-{os.getpid()}.slice" / f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
    scope = slices / f"cri-containerd-{'c' * 64}.scope"
    made: list[Path] = []
    try:
        for each in (slices.parent, slices, scope):
            each.mkdir()
            made.append(each)
        yield scope
    finally:
        for each in reversed(made):
            each.rmdir()


def put(group: Path, pid: int) -> None:
    """The process into the group."""
    (group / "cgroup.procs").write_text(str(pid))
