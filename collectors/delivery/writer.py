"""The end of a log that is written: into which directory and which segment a frame goes, and how it gets there whole.
Blocking.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.delivery import frames
from collectors.delivery.disk import Disk
from collectors.delivery.frames import SEGMENT_HEADER_BYTES, Frame
from collectors.delivery.position import Position
from collectors.delivery.segments import Segment, name_of
from mesh.files import sync_directory

_MAX_PARTS = 512
"""Of one writev(2); the kernel takes 1,024."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How large it may become."""

    max_bytes: int = 1 << 30
    segment_bytes: int = 16 << 20
    roll_s: float = 0.0
    """A segment's age, 0: any. What is dropped for its age is dropped by the segment."""
    spill: Path | None = None
    """Where segments go for which the first directory has no room."""
    max_spill_bytes: int = 0

    @property
    def roll_bytes(self) -> int:
        """A segment's size; several fit, so that some can be removed while one is written."""
        return max(1, min(self.segment_bytes, self.max_bytes // 4))


class Writer:
    """Appends to the last of the log's segments; begins new ones."""

    def __init__(
        self, directory: Path, limits: LogLimits, segments: list[Segment], next_sequence: int, disk: Disk
    ) -> None:
        """`segments` is the log's own list."""
        self._directory = directory
        self._limits = limits
        self._segments = segments
        self._next_sequence = next_sequence
        self._disk = disk
        self._fd = -1
        """Of the last segment; -1: the next append begins a new one."""
        self._salt = 0
        self._unsynced = False

    def is_writing(self, segment: Segment) -> bool:
        """Whether the next frame may go into this one."""
        return self._fd >= 0 and segment is self._segments[-1]

    def is_full(self, segment: Segment) -> bool:
        """Whether it gets no more frames."""
        return segment.size >= self._limits.roll_bytes

    def has_room(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be appended; if not, it may after a segment was delivered."""
        return self._place(size) is not None

    def _place(self, size: int) -> Path | None:
        """The directory that has room; None if there is none."""
        limits = self._limits
        if self._fd >= 0 and not self.is_full(self._segments[-1]):
            last = self._segments[-1]
            allowed = limits.max_spill_bytes if last.spilled else limits.max_bytes
            # Spilling ends where it began to be unnecessary: with a new segment.
            if self._bytes(last.spilled) + size <= allowed and not (last.spilled and self._fits_first(size)):
                return last.path.parent
        if self._fits_first(size):
            return self._directory
        need = size + SEGMENT_HEADER_BYTES
        if limits.spill is not None and self._bytes(True) + need <= limits.max_spill_bytes:
            return limits.spill
        return None

    def _fits_first(self, size: int) -> bool:
        return self._bytes(False) + size + SEGMENT_HEADER_BYTES <= self._limits.max_bytes

    def _bytes(self, spilled: bool) -> int:
        return sum(segment.size for segment in self._segments if segment.spilled == spilled)

    def append(self, group: Sequence[Frame], *, sync: bool) -> list[Position]:
        """See Log.append."""
        ends: list[Position] = []
        try:
            while len(ends) < len(group) and (place := self._place(group[len(ends)].size)) is not None:
                part = group[len(ends) : self._append_some(group, len(ends), place)]
                at = self._segments[-1].size
                self._write(part, sync=sync)
                for frame in part:
                    at += frame.size
                    ends.append(Position(self._segments[-1].sequence, at))
        except OSError:
            if not ends:
                raise
        return ends

    def _append_some(self, group: Sequence[Frame], start: int, place: Path) -> int:
        """Make the last segment one in `place`; returns how far the group may go into it."""
        last = self._segments[-1] if self._fd >= 0 else None
        new = group[start].header.time
        if last is None or last.path.parent != place or self.is_full(last) or self._is_old(last, new):
            self._begin_segment(place)
            last = self._segments[-1]
        allowed = self._limits.max_spill_bytes if last.spilled else self._limits.max_bytes
        room = allowed - self._bytes(last.spilled)
        size, stop = 0, start
        while (
            stop < len(group)
            and size + group[stop].size <= room
            and (stop == start or last.size + size < self._limits.roll_bytes)
        ):
            size += group[stop].size
            stop += 1
        return max(stop, start + 1)

    def _is_old(self, segment: Segment, now: float) -> bool:
        return bool(self._limits.roll_s and segment.first_time and now - segment.first_time >= self._limits.roll_s)

    def _begin_segment(self, place: Path) -> None:
        self.seal()
        spilled = place != self._directory
        segment = Segment(self._next_sequence, place / name_of(self._next_sequence), spilled)
        salt = int.from_bytes(os.urandom(4), "big")
        fd = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._write_all(fd, [frames.render_segment_header(salt)])
            sync_directory(place)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                segment.path.unlink()
            raise
        self._next_sequence += 1
        self._segments.append(segment)
        self._fd, self._salt = fd, salt

    def _write(self, group: Sequence[Frame], *, sync: bool) -> None:
        segment = self._segments[-1]
        parts: list[bytes] = []
        for frame in group:
            parts += (frames.render_header(frame.header, self._salt), frame.payload)
        try:
            self._write_all(self._fd, parts)
            self._unsynced = True
            if sync:
                self._sync()
        except OSError:
            # After an fsync that failed the kernel may call the same pages clean: this segment is not used any more.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, segment.size)
            self._abandon()
            raise
        for frame in group:
            segment.wrote(frame.header, frame.size)

    def sync(self) -> None:
        """Make what was appended durable. Raises OSError; then the next append begins a new segment: after an fsync
        that failed the kernel may call the same pages clean, and another one would say that all is well."""
        try:
            self._sync()
        except OSError:
            self._abandon()
            raise

    def _sync(self) -> None:
        if self._unsynced and self._fd >= 0:
            self._disk.fdatasync(self._fd)
        self._unsynced = False

    def seal(self) -> None:
        """Let the next append begin a new segment. Raises OSError."""
        if self._fd >= 0:
            try:
                self._sync()
            finally:
                self._abandon()

    def let_go(self) -> None:
        """Of the segment being written: it is being removed."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._unsynced = -1, False

    def _abandon(self) -> None:
        self.let_go()
        if self._segments and self._segments[-1].size == SEGMENT_HEADER_BYTES:
            with contextlib.suppress(OSError):
                self._segments.pop().path.unlink()

    def _write_all(self, fd: int, parts: list[bytes]) -> None:
        """Without making one of them first: they may be megabytes."""
        for start in range(0, len(parts), _MAX_PARTS):
            some: list[bytes | memoryview] = list(parts[start : start + _MAX_PARTS])
            while some:
                written = self._disk.writev(fd, some)
                while some and written >= len(some[0]):
                    written -= len(some.pop(0))
                if written:
                    some[0] = memoryview(some[0])[written:]
