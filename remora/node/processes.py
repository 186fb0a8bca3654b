"""A node's processes by /proc: which are of which pod, and the network namespace of one.

It needs the node's process namespace (hostPID), and the capability SYS_PTRACE for what belongs to other users.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from remora.node.cgroups import pod_uid

MAX_FILE_BYTES = 65_536
OWN = Path("/proc/self")


class Gone(Exception):
    """The process has ended, or its number is another's meanwhile."""


class Unreadable(Exception):
    """What must be read cannot be. One line for the operator, with the fix."""


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """Of a pod."""

    started: int
    """Ticks since the machine was started: with its number it tells a process from a later one of that number."""
    pid: int


@dataclass(frozen=True, slots=True)
class NetworkId:
    """What tells a network namespace from the others that are there at the time."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Network:
    """One, held open: as long as `handle` is, it is there."""

    handle: int
    id: NetworkId
    process: Process


def find(proc: Path, uids: Collection[str]) -> dict[str, list[Process]]:
    """Of these pods: their processes, the oldest first. Takes some 20 µs for each process of the node."""
    found: dict[str, list[Process]] = {}
    for entry in os.listdir(proc):
        if not entry.isascii() or not entry.isdigit():
            continue
        with contextlib.suppress(Gone):
            uid = _pod_of(proc / entry)
            if uid is not None and uid in uids:
                process = Process(_started(proc / entry), int(entry))
                found.setdefault(uid, []).append(process)
    for processes in found.values():
        processes.sort()
    return found


def nodes_own(proc: Path) -> frozenset[NetworkId]:
    """The networks that no pod's rules may get into: the node's, and this process's. Raises Unreadable."""
    try:
        return frozenset(_id(os.stat(each / "ns" / "net")) for each in (proc / "1", OWN))
    except OSError as error:
        raise Unreadable(_refused(proc / "1", error)) from error


@contextlib.contextmanager
def network(
    proc: Path, uid: str, processes: Collection[Process], never: Collection[NetworkId]
) -> Iterator[Network | None]:
    """That of the pod's oldest process which has one of its own, open; None: there is none yet. Raises Unreadable.

    Some runtimes keep a process of theirs in a pod's group, which is in the node's network (CRI-O's conmon).
    """
    for process in processes:
        try:
            opened = _open(proc, uid, process)
        except Gone:
            continue
        try:
            if opened.id not in never:
                yield opened
                return
        finally:
            os.close(opened.handle)
    yield None


def _open(proc: Path, uid: str, process: Process) -> Network:
    """Raises Gone, Unreadable."""
    at = proc / str(process.pid)
    try:
        handle = os.open(at / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Gone from error
    except OSError as error:
        raise Unreadable(_refused(at, error)) from error
    try:
        # What was opened is of the number's owner. That this is still the process that was found, only now is certain.
        if _pod_of(at) != uid or _started(at) != process.started:
            raise Gone
        return Network(handle, _id(os.fstat(handle)), process)
    except BaseException:
        os.close(handle)
        raise


def _pod_of(at: Path) -> str | None:
    return pod_uid(_read(at / "cgroup"))


def _started(at: Path) -> int:
    """proc_pid_stat(5), field 22; the second, a name in parentheses, may have anything in it."""
    try:
        return int(_read(at / "stat").rpartition(")")[2].split()[19])
    except (ValueError, IndexError) as error:
        raise Gone from error


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:  # it ended (ENOENT, ESRCH), or is hidden from us
        raise Gone from error


def _id(status: os.stat_result) -> NetworkId:
    return NetworkId(status.st_dev, status.st_ino)


def _refused(at: Path, error: OSError) -> str:
    return (
        f"{at}/ns/net cannot be read: {error.strerror}; the node agent needs hostPID: true and the capability "
        "SYS_PTRACE, and under AppArmor the profile Unconfined"
    )
