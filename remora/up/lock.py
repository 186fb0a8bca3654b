"""One `remora up` per state directory, held by flock: also by the children that write there, until the last is gone."""

import fcntl
import os
import time
from types import TracebackType

from remora.failure import Failure
from remora.state import State

LEFTOVERS_S = 10.0
"""How long the children of an `up` that was killed may take to notice and end."""


class Lock:
    """Held from entering to leaving; `fd` is for children to inherit. Raises Failure if another `up` has it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.fd = -1

    def __enter__(self) -> "Lock":
        try:
            fd = os.open(self._state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._state.unusable(error) from error
        deadline = time.monotonic() + LEFTOVERS_S
        while not _locked(fd):
            owner = _owner(fd)
            if (owner is not None and _alive(owner)) or time.monotonic() > deadline:
                os.close(fd)
                who = f"pid {owner}" if owner is not None else "pid unknown"
                raise Failure(
                    f"another `remora up` ({who}) uses {self._state.directory}: stop it, or choose another --state"
                )
            time.sleep(0.05)
        self.fd = fd
        self._write_owner()
        return self

    def _write_owner(self) -> None:
        try:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self.fd)
            error.filename = str(self._state.lock)
            raise self._state.unusable(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(fd: int) -> int | None:
    try:
        return int(os.pread(fd, 20, 0))
    except ValueError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
