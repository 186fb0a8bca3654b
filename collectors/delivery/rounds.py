"""What a buffer does on its disk at once: on a thread of its own, between two looks of the event loop."""

import asyncio
import errno
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.delivery.frames import Counts, Frame
from collectors.delivery.log import Log
from collectors.delivery.position import Position
from collectors.records import Batch
from collectors.settings.buffers import BufferSettings

READ_ATTEMPTS = 5
"""Then what the disk does not give back counts as damaged."""
_LOST = frozenset((errno.EIO, errno.ENOENT, errno.ENODATA))
"""The disk says so of itself. Whatever else keeps from reading (no descriptors, no memory) goes by; it is waited for
as long as it takes."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A batch that somebody waits for."""

    frames: deque[Frame]
    """Not yet on disk."""
    batch: Batch
    written: "asyncio.Future[None]"


class Held(NamedTuple):
    """A frame in memory."""

    end: Position
    counts: Counts
    size: int
    time: float
    batch: Batch
    passed: bool
    """Whether the log knows that it was handed out: it was read back from it."""


@dataclass(slots=True)
class Round:
    """What one round is to do, and then what it did."""

    now: float
    frames: list[Frame]
    owners: list[Waiting]
    """Of each frame."""
    low: Position | None
    passed: list[tuple[Position, Counts]]
    read: bool
    read_errors: int
    """In a row, before this one."""
    sync: bool
    ends: list[Position] = field(default_factory=list)
    found: list[Held] = field(default_factory=list)
    dropped: list[tuple[Counts, str]] = field(default_factory=list)
    dropped_before: Position | None = None
    full: bool = False
    write_error: OSError | None = None
    read_error: OSError | None = None
    exhausted: bool = True
    oldest_unread: float = 0.0


def perform(work: Round, disk: Log, settings: BufferSettings) -> None:
    """Do it, and write into it what became of it."""
    for end, counts in work.passed:
        disk.passed(end, counts)
    try:
        if work.low is not None:
            disk.delivered(work.low)
        while settings.max_age is not None and disk.oldest_is_older_than(work.now - settings.max_age):
            if not _drop(work, disk, "age"):
                break
        _append(work, disk, settings)
        if work.sync:
            disk.sync()
            disk.sync_position()
    except OSError as error:
        work.write_error = error
    if work.read:
        _read(work, disk, settings)
    work.exhausted = disk.exhausted
    work.oldest_unread = disk.first_unread_time()


def _append(work: Round, disk: Log, settings: BufferSettings) -> None:
    left = work.frames
    while left:
        ends = disk.append(left, sync=settings.fsync == 0.0)
        work.ends += ends
        left = left[len(ends) :]
        if not left or ends:
            continue
        disk.make_room()
        if disk.has_room(left[0].size):
            continue
        if settings.overflow != "drop_oldest" or not _drop(work, disk, "overflow"):
            work.full = True
            return


def _drop(work: Round, disk: Log, reason: str) -> bool:
    dropped = disk.drop_oldest()
    if dropped is None:
        return False
    lost, work.dropped_before = dropped
    work.dropped.append((lost, reason))
    return True


def _read(work: Round, disk: Log, settings: BufferSettings) -> None:
    size = 0
    try:
        while size < settings.batch_bytes and (read := disk.read()) is not None:
            found, end = read
            header = found.header
            size += header.length
            work.found.append(Held(end, header.counts, header.length, header.time, found.batch, True))
    except OSError as error:
        work.read_error = error
        if work.read_errors + 1 >= READ_ATTEMPTS and error.errno in _LOST:
            disk.skip_segment(str(error))
