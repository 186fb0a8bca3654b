"""Files of lines that only grow: what is appended is there as a whole or not at all, and rotated by size. Blocking."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from mesh.files import sync_directory

_PIECE_BYTES = 65_536


class LineFile:
    """One file and those before it: `.1` is the newest of them."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        keep: int,
        durable: bool = True,
        sync_names: Callable[[Path], None] = sync_directory,
    ) -> None:
        """`max_bytes`: of one file, unless one append is longer. `keep`: how many of those before it; older ones are
        removed. `durable`: lines, and by `sync_names` the names of new files, are on disk when `append` returns."""
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._durable = durable
        self._sync_names = sync_names
        self._checked = False
        """Whether half a line of a killed process would have been found."""

    def append(self, lines: bytes) -> Path | None:
        """Whole lines; returns the file that was removed to make room, if one was. Raises OSError; then none of them is
        there."""
        removed: Path | None = None
        fd = self._open()
        try:
            size = os.fstat(fd).st_size
            if not self._checked:
                size = _end_of_last_line(fd, size)
                self._checked = True
            if size and size + len(lines) > self._max_bytes:
                # Its number may be another file's as soon as it is closed, also where what follows fails.
                closing, fd = fd, -1
                os.close(closing)
                removed = self._rotate()
                fd = self._open()
                size = 0
            try:
                view = memoryview(lines)
                while view:
                    view = view[os.write(fd, view) :]
                if self._durable:
                    os.fdatasync(fd)
                    if not size:
                        self._sync_names(self.path.parent)
            except OSError:
                self._checked = False  # half a line would spoil the next one
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, size)
                raise
        finally:
            if fd >= 0:
                os.close(fd)
        return removed

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> Path | None:
        """The oldest leaves."""
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self._keep + 1))]
        oldest = names.pop()
        removed = oldest if oldest.exists() else None
        if not names:
            oldest.unlink()
        for newer in reversed(names):
            if newer.exists():
                os.replace(newer, oldest)
            oldest = newer
        return removed


def _end_of_last_line(fd: int, size: int) -> int:
    """Cut off half a line that a killed process left; returns the size then. Raises OSError."""
    end = size
    while end:
        begin = max(0, end - _PIECE_BYTES)
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            end = begin + at + 1
            break
        end = begin
    if end != size:
        os.ftruncate(fd, end)
    return end
