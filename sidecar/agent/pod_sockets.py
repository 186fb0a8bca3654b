"""Who else is alive in the pod: a socket in its network namespace that is not the sidecar's belongs to the application.

Containers of a pod share the network namespace and, by default, nothing else: no process of the application's can be
seen from here, nor waited for. Its sockets can, in /proc/net, whoever they belong to (proc(5)); which of them are ours
is told by the inodes of our own descriptors. TIME_WAIT and orphans, which the kernel keeps after their process has
ended, have no inode and are nobody's.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

TABLES: Mapping[str, tuple[int, int]] = {
    "tcp": (9, 3),
    "tcp6": (9, 3),
    "udp": (9, 3),
    "udp6": (9, 3),
    "unix": (6, -1),
}
"""Table to the columns of the inode and, for people, of the state; the first line of each names the columns."""

MAX_TABLE_BYTES = 32 * 1024 * 1024
"""Some 200,000 sockets; of more, the first are enough to know that somebody is there."""

_LISTEN = "0A"


class PodSockets:
    """`processes` are ours. Blocks for as long as reading a few files of /proc takes."""

    def __init__(self, processes: Callable[[], Iterable[int]], proc: Path = Path("/proc")) -> None:
        self._processes = processes
        self._proc = proc

    def foreign(self) -> dict[str, int]:
        """How many sockets of others there are, by table; empty: nobody else is here. Raises as `others`."""
        found: dict[str, int] = {}
        for table in self.others().values():
            found[table] = found.get(table, 0) + 1
        return found

    def others(self) -> dict[int, str]:
        """Inodes of sockets that are not ours, and their tables.

        A socket counts when it is there before and after our own were listed: one that we open or close meanwhile
        would otherwise be taken for another's. Raises OSError where there is no /proc.
        """
        before = self._sockets()
        ours = self._ours()
        after = self._sockets()
        return {inode: after[inode] for inode in (before.keys() & after.keys()) - ours}

    def _sockets(self) -> dict[int, str]:
        """Inode to table."""
        found: dict[int, str] = {}
        for table, (inode_at, state_at) in TABLES.items():
            for line in self._lines(table):
                columns = line.split()
                if len(columns) > inode_at and columns[inode_at].isdigit() and columns[inode_at] != "0":
                    listens = state_at >= 0 and columns[state_at] == _LISTEN
                    found[int(columns[inode_at])] = f"{table} (listening)" if listens else table
        return found

    def _lines(self, table: str) -> list[str]:
        try:
            with open(self._proc / "self" / "net" / table, "rb") as file:
                return file.read(MAX_TABLE_BYTES).decode("ascii", "replace").splitlines()[1:]
        except FileNotFoundError:
            if table == "tcp":
                raise  # then it is /proc that is missing
            return []  # a kernel without IPv6 has not all of them

    def _ours(self) -> set[int]:
        """Inodes of the sockets of our processes."""
        inodes: set[int] = set()
        for pid in self._processes():
            # A process that has just ended holds nothing.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for entry in os.scandir(self._proc / str(pid) / "fd"):
                    with contextlib.suppress(OSError):
                        target = os.readlink(entry.path)
                        if target.startswith("socket:["):
                            inodes.add(int(target[8:-1]))
        return inodes


def own_processes(proc: Path = Path("/proc")) -> list[int]:
    """This process and what descends from it (proc(5): /proc/PID/task/TID/children)."""
    found = [os.getpid()]
    for pid in found:  # which grows
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in os.listdir(proc / str(pid) / "task"):
                children = (proc / str(pid) / "task" / task / "children").read_text().split()
                found += [int(child) for child in children]
    return found


def describe(foreign: Mapping[str, int]) -> str:
    """`2 tcp, 1 tcp (listening)`."""
    return ", ".join(f"{count} {table}" for table, count in sorted(foreign.items()))
