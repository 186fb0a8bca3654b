"""A buffer on disk: segments are appended to at one end and removed at the other. Blocking; one thread at a time.

It knows positions and frames, and nothing of back ends, acknowledgements or the event loop (delivery.py).
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collectors.delivery import frames, spill
from collectors.delivery.disk import KERNEL, Disk
from collectors.delivery.errors import BufferFault
from collectors.delivery.frames import SEGMENT_HEADER_BYTES, Counts, Frame
from collectors.delivery.position import Position, PositionFile
from collectors.delivery.segments import (
    Damage,
    Read,
    Segment,
    SegmentFile,
    cut_torn_tail,
    list_segments,
    survey,
)
from collectors.delivery.writer import LogLimits, Writer
from collectors.store.errors import StoreError
from collectors.store.files import FileLock

_log = logging.getLogger("remora.buffer")

MAX_QUARANTINED = 8
"""Damaged segments kept for whoever wants to look; older ones are removed, so that disk use stays bounded."""


@dataclass(slots=True)
class LogStats:
    """Written by the thread that uses the log, read by anyone."""

    bytes: int = 0
    """Of all segments."""
    undelivered_bytes: int = 0
    segments: int = 0
    quarantined_segments: int = 0
    quarantined: Counts = field(default_factory=Counts)
    """Records in damaged frames whose header is whole; of others nobody knows."""
    torn_bytes: int = 0


class Log:
    """Open with `Log.open`."""

    def __init__(self, directory: Path, limits: LogLimits, lock: FileLock, disk: Disk) -> None:
        self.directory = directory
        self.stats = LogStats()
        self._limits = limits
        self._lock = lock
        self._disk = disk
        self._segments: list[Segment] = []
        self._position_file = PositionFile(directory / "position")
        self._low = Position(0, 0)
        """Everything before it was delivered."""
        self._cursor = Position(0, 0)
        """Everything before it was handed to the sender."""
        self._writer = Writer(directory, limits, self._segments, 1, disk)
        self._reading: SegmentFile | None = None

    @classmethod
    def open(cls, directory: Path, limits: LogLimits, disk: Disk = KERNEL) -> "Log":
        """Raises BufferFault if another process has it, a newer program made it, or a directory that has records of it
        is not there; OSError if it cannot be made."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = FileLock.take(directory / "buffer")
        except StoreError as error:
            raise BufferFault(f"another process uses the buffer {directory}") from error
        log = None
        try:
            spill.join(directory, limits.spill)
            log = cls(directory, limits, lock, disk)
            log._recover()
        except BaseException:
            if log is not None:
                log._position_file.close()
            lock.release()
            raise
        return log

    def _recover(self) -> None:
        found = list_segments(self.directory, spilled=False)
        if self._limits.spill is not None:
            found += list_segments(self._limits.spill, spilled=True)
        self._segments += sorted(found, key=lambda segment: segment.sequence)
        position = self._position_file.read()
        if self._position_file.damaged:
            _log.error("%s: the position is damaged: more than what was under way is sent again", self.directory)
        if self._segments:
            torn = cut_torn_tail(self._segments[-1])
            self.stats.torn_bytes += torn
            if torn:
                _log.warning(
                    "%s: cut %d bytes that were being written when the process ended; nobody was told that they were "
                    "stored", self._segments[-1].path, torn,
                )  # fmt: skip
        for segment in self._segments:
            survey(segment)
        last = self._segments[-1].sequence if self._segments else 0
        self._low = position or Position(0, 0)
        self._writer = Writer(
            self.directory, self._limits, self._segments, max(last, self._low.sequence) + 1, self._disk
        )
        self._remove_delivered()
        self._cursor = self._low
        for segment in self._segments:
            if segment.sequence == self._low.sequence:
                self._forget_read(segment)
        self._count()

    def _forget_read(self, segment: Segment) -> None:
        """Take off `unread` what is before the position."""
        file = SegmentFile(segment)
        try:
            at = SEGMENT_HEADER_BYTES
            for header in file.headers():
                if at >= self._low.offset:
                    break
                segment.unread = segment.unread.minus(header.counts)
                at += frames.FRAME_HEADER_BYTES + header.length
        finally:
            file.close()

    @property
    def retry_s(self) -> float:
        """See Disk.retry_s."""
        return self._disk.retry_s

    # Writing.

    def has_room(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be appended; if not, it may after a segment was delivered."""
        return self._writer.has_room(size)

    def can_ever_hold(self, size: int) -> bool:
        """Whether it may when the buffer is empty."""
        return size + SEGMENT_HEADER_BYTES <= max(self._limits.max_bytes, self._limits.max_spill_bytes)

    def append(self, group: Sequence[Frame], *, sync: bool) -> list[Position]:
        """Write as many frames as there is room for, and, with `sync`, make them durable. Returns each one's end.

        Raises OSError if not even one was written; the same may be tried again later.
        """
        try:
            return self._writer.append(group, sync=sync)
        finally:
            self._count()

    def sync(self) -> None:
        """Make what was appended durable. Raises OSError."""
        self._writer.sync()

    # Reading.

    @property
    def exhausted(self) -> bool:
        """Whether everything was handed to the sender."""
        if not self._segments:
            return True
        last = self._segments[-1]
        return self._cursor >= Position(last.sequence, last.size)

    def unread(self) -> Counts:
        """Records that were not handed to the sender."""
        total = Counts()
        for segment in self._segments:
            total = total.plus(segment.unread)
        return total

    def passed(self, end: Position, counts: Counts) -> None:
        """The frame that ends there goes to the sender from memory."""
        self._cursor = max(self._cursor, end)
        for segment in reversed(self._segments):
            if segment.sequence == end.sequence:
                segment.unread = segment.unread.minus(counts)
                return

    def read(self) -> tuple[Read, Position] | None:
        """The next frame and its end; None when there is no more. Damage is passed over, its segment quarantined once
        the rest of it was delivered. Raises OSError."""
        while (segment := self._at_cursor()) is not None:
            if self._reading is None or self._reading.segment is not segment:
                self._stop_reading()
                self._reading = SegmentFile(segment, self._disk)
            found = self._reading.read(self._cursor.offset)
            if found is None:
                self._stop_reading()
                if segment is self._segments[-1]:
                    return None
                self._cursor = Position(segment.sequence + 1, 0)
                continue
            self._cursor = Position(segment.sequence, found.end)
            if isinstance(found, Read):
                segment.unread = segment.unread.minus(found.header.counts)
                return found, self._cursor
            self._damaged(segment, found)
        return None

    def _at_cursor(self) -> Segment | None:
        """The segment to read next; the cursor is set to its beginning if it was before it."""
        for segment in self._segments:
            if segment.sequence == self._cursor.sequence:
                return segment
            if segment.sequence > self._cursor.sequence:
                self._cursor = Position(segment.sequence, 0)
                return segment
        return None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _damaged(self, segment: Segment, damage: Damage) -> None:
        if not segment.damaged:
            segment.damaged = True
            self.stats.quarantined_segments += 1
        self.stats.quarantined = self.stats.quarantined.plus(damage.counts)
        _log.error(
            "%s is damaged: bytes %d to %d hold no whole frame (%s records); what follows is delivered, then the file "
            "is moved to %s",
            segment.path, damage.begin, damage.end, damage.counts.total or "an unknown number of",
            segment.path.parent / "quarantine",
        )  # fmt: skip

    def skip_segment(self, why: str) -> None:
        """Give up what is left of the segment being read: the disk does not give it back."""
        segment = self._at_cursor()
        if segment is None:
            return
        self._damaged(segment, Damage(self._cursor.offset, segment.size, segment.unread))
        _log.error("%s cannot be read: %s", segment.path, why)
        segment.unread = Counts()
        self._stop_reading()
        self._cursor = Position(segment.sequence, segment.size)

    # Removing.

    @property
    def low(self) -> Position:
        """Everything before it was delivered."""
        return self._low

    def delivered(self, position: Position) -> None:
        """Everything before `position` was delivered: note it, and remove what is not needed any more.

        Raises OSError: then it is noted in memory alone, and is written with the next.
        """
        if position <= self._low:
            return
        self._low = position
        self._remove_delivered()
        self._count()
        self._position_file.write(position)

    def sync_position(self) -> None:
        """Let the position survive the machine. Raises OSError."""
        self._position_file.sync()

    def _remove_delivered(self) -> None:
        while self._segments and self._is_delivered(self._segments[0]):
            self._remove(self._segments[0])

    def _is_delivered(self, segment: Segment) -> bool:
        if segment.sequence < self._low.sequence:
            return True
        if segment.sequence > self._low.sequence or self._low.offset < segment.size:
            return False
        # The one being written stays until it is full; on the second disk nothing stays longer than it must.
        return not self._writer.is_writing(segment) or segment.spilled or self._writer.is_full(segment)

    def make_room(self) -> None:
        """End the segment being written if all of it was delivered, so that a small buffer becomes empty."""
        last = self._segments[-1] if self._segments else None
        if last is None or not self._writer.is_writing(last) or self._low < Position(last.sequence, last.size):
            return
        self._writer.seal()
        self._remove_delivered()
        self._count()

    def drop_oldest(self) -> tuple[Counts, Position] | None:
        """Give up the oldest segment: what of it was not handed to the sender is lost. Returns how much, and the
        position after it; None if there is no segment. Raises OSError."""
        if not self._segments:
            return None
        segment = self._segments[0]
        if len(self._segments) == 1:
            self._writer.seal()
            if not self._segments:
                return None
        lost = segment.unread
        after = Position(segment.sequence + 1, 0)
        self._cursor = max(self._cursor, after)
        self._low = max(self._low, after)
        self._remove(segment)
        self._count()
        self._position_file.write(self._low)
        return lost, after

    def oldest_is_older_than(self, time: float) -> bool:
        """Whether all frames of the oldest segment were written before `time`."""
        if not self._segments:
            return False
        segment = self._segments[0]
        return 0 < segment.last_time < time

    def first_unread_time(self) -> float:
        """When the segment that is read next was begun; 0: nothing is left to read."""
        for segment in self._segments:
            if segment.sequence >= self._cursor.sequence and segment.unread.total > 0:
                return segment.first_time
        return 0.0

    def _remove(self, segment: Segment) -> None:
        if self._reading is not None and self._reading.segment is segment:
            self._stop_reading()
        if self._writer.is_writing(segment):
            self._writer.let_go()
        self._segments.remove(segment)
        try:
            if segment.damaged:
                self._quarantine(segment)
            else:
                segment.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.error("%s was delivered and cannot be removed: %s", segment.path, error)

    def _quarantine(self, segment: Segment) -> None:
        directory = segment.path.parent / "quarantine"
        directory.mkdir(mode=0o700, exist_ok=True)
        os.replace(segment.path, directory / segment.path.name)
        for old in sorted(directory.glob(f"*{segment.path.suffix}"))[:-MAX_QUARANTINED]:
            old.unlink()

    def _count(self) -> None:
        self.stats.bytes = sum(segment.size for segment in self._segments)
        self.stats.segments = len(self._segments)
        delivered = 0
        if self._segments and self._segments[0].sequence == self._low.sequence:
            delivered = min(max(self._low.offset - SEGMENT_HEADER_BYTES, 0), self._segments[0].size)
        headers = SEGMENT_HEADER_BYTES * len(self._segments)
        self.stats.undelivered_bytes = max(0, self.stats.bytes - headers - delivered)

    def close(self) -> None:
        """Make everything durable and let go of the directory. Idempotent. Raises OSError."""
        self._stop_reading()
        try:
            self._writer.seal()
            self._remove_delivered()
            self._position_file.sync()
        finally:
            self._position_file.close()
            self._lock.release()
