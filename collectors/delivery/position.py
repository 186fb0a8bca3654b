"""How far a buffer was delivered, in a small file that is either the old or the new, also after kill -9.

Two slots, written in turn: whatever becomes of one being written, the other is whole. A rename would do the same for
several times the work, and this is written after every answer of the back end.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

_SLOT = struct.Struct(">4sQQQ")
_CRC = struct.Struct(">I")
_MARK = b"RMRP"
_SLOT_BYTES = 64
"""Apart: a torn write of one never reaches the other."""


class Position(NamedTuple):
    """A place between two frames: everything before it."""

    sequence: int
    """Of the segment."""
    offset: int
    """Bytes from its beginning."""


class PositionFile:
    """One writer's. Blocking."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn = 0
        self._dirty = False
        self.damaged = False
        """Whether there was something in it that could not be read; set by `read`."""

    def read(self) -> Position | None:
        """The newer slot that is whole; None if there is none."""
        data = os.pread(self._fd, 2 * _SLOT_BYTES, 0)
        found: Position | None = None
        for at in (0, _SLOT_BYTES):
            slot = data[at : at + _SLOT.size + _CRC.size]
            if len(slot) < _SLOT.size + _CRC.size or not any(slot):
                continue
            mark, turn, sequence, offset = _SLOT.unpack_from(slot)
            if mark != _MARK or _CRC.unpack_from(slot, _SLOT.size)[0] != crc32(slot[: _SLOT.size]):
                self.damaged = True
            elif turn > self._turn:
                self._turn, found = turn, Position(sequence, offset)
        return found

    def write(self, position: Position) -> None:
        """Survives the process at once, the machine after `sync`. Raises OSError."""
        fields = _SLOT.pack(_MARK, self._turn + 1, position.sequence, position.offset)
        slot = (fields + _CRC.pack(crc32(fields))).ljust(_SLOT_BYTES, b"\0")
        os.pwrite(self._fd, slot, ((self._turn + 1) % 2) * _SLOT_BYTES)
        self._turn += 1
        self._dirty = True

    def sync(self) -> None:
        """Raises OSError."""
        if self._dirty:
            os.fdatasync(self._fd)
            self._dirty = False

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
