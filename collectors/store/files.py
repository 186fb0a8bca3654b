"""The store's files on disk: who may write them, and what happens to broken ones."""

import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from collectors.store.errors import StoreError

MAX_ASIDE = 3
"""Broken databases kept for whoever wants to look; older ones are removed, so that disk use stays bounded."""


class FileLock:
    """An exclusive flock beside the database; it ends with the process, however that ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> "FileLock":
        """Raises StoreError if another process holds it."""
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise StoreError(f"another process writes the store {path}") from error
        return cls(fd)

    def release(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def move_aside(path: Path, now: float) -> Path:
    """Rename a broken database, with its log, out of the way. Returns its new name."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
    _forget_oldest(path)
    return aside


def _forget_oldest(path: Path) -> None:
    kept = sorted(
        found for found in path.parent.glob(f"{path.name}.corrupt-*") if not found.name.endswith(("-wal", "-shm"))
    )
    for old in kept[:-MAX_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                old.with_name(old.name + suffix).unlink()
