"""Where a test's cluster is: a network namespace that pods' namespaces are joined to, or this machine as it is."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO, Protocol


class Place(Protocol):
    """What of `Namespace` is used of either."""

    def entered(self) -> "contextlib.AbstractContextManager[None]":
        """This thread's sockets and processes are made there."""

    def start(
        self, argv: Sequence[str], *, log: "IO[bytes] | None" = None, pass_fds: Sequence[int] = ()
    ) -> "subprocess.Popen[bytes]":
        """A process there."""


class Here:
    """This machine."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        yield

    def start(
        self, argv: Sequence[str], *, log: "IO[bytes] | None" = None, pass_fds: Sequence[int] = ()
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=pass_fds)
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
