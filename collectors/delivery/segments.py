"""One segment file: appended to until it is full, read from the beginning, removed when it was delivered."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from collectors.delivery import frames
from collectors.delivery.disk import KERNEL, Disk
from collectors.delivery.errors import BufferFault
from collectors.delivery.frames import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, Counts, FrameHeader
from collectors.records import Batch

SUFFIX = ".segment"


@dataclass(slots=True)
class Segment:
    """What is known of a file of the buffer."""

    sequence: int
    path: Path
    spilled: bool
    """Whether it is in the second directory."""
    size: int = SEGMENT_HEADER_BYTES
    unread: Counts = field(default_factory=Counts)
    """Records that were not yet handed to the sender."""
    first_time: float = 0.0
    last_time: float = 0.0
    """When its frames were written, seconds since the Unix epoch."""
    damaged: bool = False

    def wrote(self, header: FrameHeader, size: int) -> None:
        """A frame of `size` bytes was appended."""
        self.first_time = self.first_time or header.time
        self.last_time = max(self.last_time, header.time)
        self.unread = self.unread.plus(header.counts)
        self.size += size


class Read(NamedTuple):
    """One frame, read back."""

    header: FrameHeader
    batch: Batch
    end: int
    """Offset of what follows."""


class Damage(NamedTuple):
    """Bytes that hold no whole frame."""

    begin: int
    end: int
    counts: Counts
    """Of the frame that was there, where its header is whole."""
    whole: bool = False
    """Whether only the payload is damaged: its length is right."""


def name_of(sequence: int) -> str:
    """A file's name; in the order of names is in the order of sequences."""
    return f"{sequence:020d}{SUFFIX}"


def list_segments(directory: Path, *, spilled: bool) -> list[Segment]:
    """Those in a directory, oldest first. Raises OSError."""
    found = []
    for path in directory.iterdir():
        stem = path.name.removesuffix(SUFFIX)
        if path.name.endswith(SUFFIX) and stem.isascii() and stem.isdigit():
            found.append(Segment(int(stem), path, spilled, size=path.stat().st_size))
    return sorted(found, key=lambda segment: segment.sequence)


class SegmentFile:
    """An open segment, for reading. Blocking."""

    def __init__(self, segment: Segment, disk: Disk = KERNEL) -> None:
        """Raises OSError; BufferFault if a newer program wrote it."""
        self.segment = segment
        self._fd = disk.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._header = frames.read_segment_header(os.pread(self._fd, SEGMENT_HEADER_BYTES, 0))
            if self._header is not None and self._header.version > frames.VERSION:
                raise BufferFault(
                    f"{segment.path} has format {self._header.version}, this program reads {frames.VERSION}: "
                    "use a newer program"
                )
        except BaseException:
            self.close()
            raise

    @property
    def readable(self) -> bool:
        """False: its own header is damaged, and no frame in it can be told from chance."""
        return self._header is not None

    def headers(self) -> Iterator[FrameHeader]:
        """From the first frame on, as far as they are whole; payloads are not looked at. Raises OSError."""
        at = SEGMENT_HEADER_BYTES
        while self._header is not None:
            header = frames.read_header(os.pread(self._fd, FRAME_HEADER_BYTES, at), self._header.salt)
            if header is None:
                return
            at += FRAME_HEADER_BYTES + header.length
            yield header

    def read(self, at: int) -> Read | Damage | None:
        """What is at an offset; None at the end. Raises OSError."""
        size = self.segment.size
        if self._header is None:
            return Damage(at, size, Counts()) if at < size else None
        at = max(at, SEGMENT_HEADER_BYTES)
        if at >= size:
            return None
        header = frames.read_header(os.pread(self._fd, FRAME_HEADER_BYTES, at), self._header.salt)
        if header is None:
            return Damage(at, self._next(at + 1, self._header.salt), Counts())
        body, end = at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + header.length
        if end > size:
            return Damage(at, self._next(at + 1, self._header.salt), header.counts)
        batch = frames.decode(header, os.pread(self._fd, header.length, body))
        return Read(header, batch, end) if batch is not None else Damage(at, end, header.counts, whole=True)

    def _next(self, begin: int, salt: int) -> int:
        """Where the next whole header is; the end if there is none."""
        data = os.pread(self._fd, self.segment.size - begin, begin)
        for at in frames.candidates(data, 0):
            if frames.read_header(data, salt, at) is not None:
                return begin + at
        return self.segment.size

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def survey(segment: Segment) -> None:
    """Fill in counts and times. Raises OSError, BufferFault."""
    file = SegmentFile(segment)
    try:
        for header in file.headers():
            segment.wrote(header, 0)
    finally:
        file.close()


def cut_torn_tail(segment: Segment) -> int:
    """Cut off what a killed process was writing: what follows the last frame whose header and length are whole.
    Returns the bytes cut.

    Damage before that is left for the reader to find: it was acknowledged. Raises OSError, BufferFault.
    """
    file = SegmentFile(segment)
    try:
        if not file.readable and segment.size >= SEGMENT_HEADER_BYTES:
            return 0
        at, end = SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES
        while (found := file.read(at)) is not None:
            at = found.end
            if isinstance(found, Read) or found.whole:
                end = found.end
    finally:
        file.close()
    torn = segment.size - end
    if torn > 0:
        with open(segment.path, "r+b") as writing:
            writing.truncate(end)
            os.fsync(writing.fileno())
        segment.size = end
    return max(torn, 0)
