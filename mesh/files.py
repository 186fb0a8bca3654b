"""Files that are either the old or the new, never half: atomic, synced writes with their mode set from the start."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` with `data`, synced to disk before and after the rename.

    Raises OSError; then `path` is as it was.
    """
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class NotPrivate(PermissionError):
    """A file that holds a secret can be read by others."""


def read_private(path: Path) -> bytes:
    """Read a file that must be its owner's alone. Raises NotPrivate if group or others have any right to it."""
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise NotPrivate(f"{path} has mode {mode:04o}; it holds a secret: chmod 0600 {path}")
        return file.read()
