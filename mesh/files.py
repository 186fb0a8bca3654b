"""Files that are either the old or the new, never half: atomic, synced writes with their mode set from the start."""

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` with `data`, synced to disk before and after the rename.

    Raises OSError, which names `path`; then that is as it was.
    """
    try:
        _replace(path, data, mode)
    except OSError as error:
        # The calls that fail on a full disk know no name.
        error.filename, error.filename2 = os.fspath(path), None
        raise


def _replace(path: Path, data: bytes, mode: int) -> None:
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


def sync_file_system(directory: Path) -> bool:
    """Make everything on `directory`'s file system durable: of thousands of files far quicker than each by itself.

    False where the machine has no such call (syncfs(2)); nothing was done then. Raises OSError.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(fd)
    return True


def sync_directory(path: Path, fsync: Callable[[int], None] = os.fsync) -> None:
    """Make renames and removals in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(fd)
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


def read_token(path: Path, *, kubelet_uid: int = 0) -> bytes:
    """Read a bearer token that somebody else wrote for us. Raises NotPrivate, OSError.

    A group may read it (0640: Kubernetes does so for a pod with an `fsGroup`), others may not, and it belongs to us or
    to root. In a projected volume the kubelet decides about modes, and they are 0644 for a pod that names neither user
    nor group; such a file is taken as it is: only the pod's containers see the volume.
    """
    with open(path, "rb") as file:
        stat = os.fstat(file.fileno())
        mode = stat.st_mode & 0o777
        if not (mode & 0o037 == 0 and stat.st_uid in (os.geteuid(), kubelet_uid)) and not _projected(path, kubelet_uid):
            raise NotPrivate(
                f"{path} has mode {mode:04o} and belongs to user {stat.st_uid}; it holds a token: chmod 0600 {path}"
            )
        return file.read()


def _projected(path: Path, kubelet_uid: int) -> bool:
    """Whether it is a file of the kubelet's: NAME -> ..data/NAME, and ..data -> ..TIMESTAMP, both links root's own
    (k8s.io/kubernetes/pkg/volume/util/atomic_writer.go)."""
    data = path.parent / "..data"
    try:
        links = ((path, os.readlink(path)), (data, os.readlink(data)))
        owned = all(os.lstat(link).st_uid == kubelet_uid for link, _ in links)
    except OSError:
        return False
    return owned and links[0][1] == f"..data/{path.name}" and links[1][1].startswith("..") and "/" not in links[1][1]
