"""One open log file: reads its lines, notices that it was truncated. The file's only owner; everything here blocks."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from collectors.receivers.tail.assembly import Assembly, RawLine
from collectors.receivers.tail.positions import Position, digest

HEAD_BYTES = 1_024
TAIL_BYTES = 256


class Truncated(Exception):
    """What was read so far is not in the file any more: it was emptied, or another content took its place."""


class Mark(NamedTuple):
    """A place in a file."""

    offset: int
    skipping: bool
    before: bytes
    """The last bytes before it, where they are at hand."""


class Follower:
    """Where we are in one file."""

    def __init__(self, path: Path, real: Path, fd: int, assembly: Assembly, *, max_line_bytes: int) -> None:
        """Owns `fd`."""
        self.path = path
        self.origin = str(path)
        """The path under which its content was first found: part of its identity."""
        self.real = real
        self.fd = fd
        self.assembly = assembly
        self._max_line_bytes = max_line_bytes
        stat = os.fstat(fd)
        self.place = (stat.st_dev, stat.st_ino)
        self.device, self.inode = self.place
        """Of the file in which its content came to be: a copy's are not its own."""
        self.generation = 0
        self.first = b""
        self.head = b""
        self.offset = 0
        """Where the next line begins."""
        self.skipping = False
        self._carry = b""
        """Of that line, what there is already."""
        self._before = b""
        """The last bytes before `offset`."""
        self._checked: tuple[int, int] | None = None
        """Size and time when the file was last found to be itself."""
        self.stored = 0
        """Where a restart would go on."""
        self.stored_skipping = False
        self.stored_before = b""
        """The last bytes before `stored`; empty where they are not at hand."""
        self.ended = False
        """It has a successor: once nothing comes any more it is done."""
        self.complete = False
        """A copy: nothing comes any more."""
        self.done = False
        """All of it was handed out."""
        self.grown_at = 0.0
        """Monotonic seconds."""
        self.id = ""
        """Prefix of its records' ids."""

    def identify(self, *, force: bool = False) -> bool:
        """Know the file by its first line. False while that is not whole (`force`: what there is will do)."""
        if self.first:
            return True
        head = os.pread(self.fd, HEAD_BYTES, 0)
        newline = head.find(b"\n")
        if newline < 0 and len(head) < HEAD_BYTES and not (force and head):
            return False
        self.first = head if newline < 0 else head[: newline + 1]
        self.head = head
        return True

    @property
    def first_digest(self) -> str:
        """Of the first line."""
        return digest(self.first)

    def adopt(self, position: Position) -> None:
        """Be the one that was there before, and go on where it was stored."""
        self.device, self.inode = position.device, position.inode
        self.origin, self.generation = position.origin, position.generation
        # The head may have grown by lines that were not there when it was first seen.
        first = self.head[: self.head.find(b"\n") + 1] or self.head
        if digest(first) != position.first_digest:
            # It was named when there was half of its first line; it keeps its name.
            parts = (self.head[:length] for length in range(1, len(self.head)))
            first = next((part for part in parts if digest(part) == position.first_digest), first)
        self.first = first
        self.resume(position.offset, skipping=position.skipping)

    def resume(self, offset: int, *, skipping: bool = False) -> None:
        """Go on from there."""
        self.offset = self.stored = offset
        self.skipping = self.stored_skipping = skipping
        self._carry = b""
        begin = max(0, offset - TAIL_BYTES)
        self._before = self.stored_before = os.pread(self.fd, offset - begin, begin)

    def unread_bytes(self) -> int:
        """How much there is. Raises Truncated."""
        stat = os.fstat(self.fd)
        at = self.offset + len(self._carry)
        if stat.st_size < at:
            raise Truncated
        stamp = (stat.st_size, stat.st_mtime_ns)
        if stamp != self._checked:
            self._check_head()
            self._checked = stamp
        return stat.st_size - at

    def _check_head(self) -> None:
        head = os.pread(self.fd, HEAD_BYTES, 0)
        if not head.startswith(self.head):
            raise Truncated
        self.head = head

    def read(self, budget: int) -> list[RawLine]:
        """Lines of the next `budget` bytes that are complete. Raises Truncated; then nothing was read."""
        at = self.offset + len(self._carry)
        data = os.pread(self.fd, budget, at)
        # Looked at afterwards: what was read is of this content if the file is still itself now.
        stat = os.fstat(self.fd)
        if stat.st_size < at + len(data):
            raise Truncated
        self._check_head()
        if not data:
            return []
        return self._split(self._carry + data if self._carry else data)

    def _split(self, data: bytes) -> list[RawLine]:
        lines: list[RawLine] = []
        offset = self.offset
        end = data.rfind(b"\n") + 1
        limit = self._max_line_bytes
        for line in data[:end].split(b"\n")[:-1] if end else ():
            after = offset + len(line) + 1
            if self.skipping:
                self.skipping = False  # its end at last
            elif len(line) > limit:
                lines.append(RawLine(offset, after, line[:limit], True))
            else:
                lines.append(RawLine(offset, after, line))
            offset = after
        rest = data[end:]
        if self.skipping:
            offset, rest = offset + len(rest), b""
        elif len(rest) > limit:
            self.skipping = True
            lines.append(RawLine(offset, offset + len(rest), rest[:limit], True))
            offset, rest = offset + len(rest), b""
        self._before = (self._before + data[: len(data) - len(rest)])[-TAIL_BYTES:]
        self.offset, self._carry = offset, rest
        return lines

    def last_line(self) -> list[RawLine]:
        """What has no newline at the end of a file that ended."""
        rest, self._carry = self._carry, b""
        if not rest:
            return []
        offset, self.offset = self.offset, self.offset + len(rest)
        return [RawLine(offset, self.offset, rest)]

    def restart(self) -> None:
        """The file has another content: from its beginning. It is to be identified anew."""
        self.first = self.head = self._carry = self._before = self.stored_before = b""
        self.origin = str(self.path)
        self.offset = self.stored = 0
        self.skipping = self.stored_skipping = False
        self._checked = None
        self.id = ""

    def continue_in(self, fd: int) -> "Follower":
        """What is left of the content that was here, in its copy: `fd`, which the new follower owns."""
        copy = Follower(self.path, self.real, fd, self.assembly, max_line_bytes=self._max_line_bytes)
        copy.device, copy.inode, copy.generation = self.device, self.inode, self.generation
        copy.first, copy.head, copy.id, copy.origin = self.first, self.head, self.id, self.origin
        copy.offset, copy._carry, copy._before = self.offset, self._carry, self._before
        copy.skipping, copy.stored, copy.stored_skipping = self.skipping, self.stored, self.stored_skipping
        copy.stored_before = self.stored_before
        copy.ended = copy.complete = True
        return copy

    def is_continued_by(self, fd: int) -> bool:
        """Whether that file begins with what was read here."""
        at = self.offset + len(self._carry)
        before = self._before + self._carry
        return (
            os.fstat(fd).st_size >= at
            and os.pread(fd, len(self.head), 0) == self.head
            and os.pread(fd, len(before), at - len(before)) == before
        )

    def mark(self) -> Mark:
        """Up to where everything is in records that were handed out."""
        held = self.assembly.held_from
        return Mark(self.offset, self.skipping, self._before) if held is None else Mark(held, False, b"")

    def keep(self, mark: Mark) -> None:
        """Everything up to there is stored."""
        self.stored, self.stored_skipping, self.stored_before = mark

    def position(self, accounted_ns: int) -> Position:
        """What a restart needs."""
        return Position(
            path=str(self.path),
            origin=self.origin,
            real=str(self.real),
            device=self.device,
            inode=self.inode,
            generation=self.generation,
            first_digest=self.first_digest,
            head_length=len(self.head),
            head_digest=digest(self.head),
            tail_length=len(self.stored_before),
            tail_digest=digest(self.stored_before),
            offset=self.stored,
            skipping=self.stored_skipping,
            ended=self.ended,
            accounted_ns=accounted_ns,
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)
