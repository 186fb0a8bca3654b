"""Reading of all files, fairly, and in step with what is stored. It blocks: run it in a thread. Nothing here knows of
the pipeline: what is gathered counts as stored when it is given back to `commit`.
"""

import contextlib
import logging
from dataclasses import dataclass, field

from collectors.receivers.tail.assembly import Assembled
from collectors.receivers.tail.files import Files
from collectors.receivers.tail.follower import Follower, Mark, Truncated

_log = logging.getLogger("remora.tail")


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Of one turn."""

    read_bytes: int = 64 * 1024
    """Of one file before it is the next one's turn."""
    turn_bytes: int = 1024 * 1024
    """Of all files before what was read is stored."""
    rotate_wait_s: float = 5.0
    """How long a file that was renamed or deleted is still read after it last grew."""


@dataclass(slots=True)
class Chunk:
    """What was read of one file, not stored yet."""

    follower: Follower
    id: str
    """Prefix of the records' ids."""
    records: list[Assembled] = field(default_factory=list)
    mark: Mark | None = None
    """How far it is stored when these are."""


class Tailer:
    """Reads files in turns: `gather`, store, `commit`."""

    def __init__(self, files: Files, limits: ReadLimits) -> None:
        self.files = files
        self._limits = limits
        self._chunks: dict[int, Chunk] = {}
        self._turn = 0

    def gather(self, now: float) -> list[Chunk]:
        """What there is to read, fairly of all files, up to the limits. `now`: monotonic seconds."""
        followers = self.files.all
        # Somebody else is first in each turn.
        start = self._turn % len(followers) if followers else 0
        self._turn += 1
        order = followers[start:] + followers[:start]
        room = self._limits.turn_bytes
        while room > 0 and order:
            asked, ready = {id(follower) for follower in followers}, []
            for follower in order:
                if room <= 0:
                    break
                taken = self._read(follower, now)
                room -= taken
                if taken:
                    ready.append(follower)
            # Who had nothing more is not asked again in this turn; who was found by reading (a copy) is asked as well.
            followers = self.files.all
            order = ready + [follower for follower in followers if id(follower) not in asked]
        for follower in self.files.all:
            try:
                self._settle(follower, now)
            except OSError as error:
                self._give_up(follower, error, now)
        chunks, self._chunks = list(self._chunks.values()), {}
        return chunks

    def _read(self, follower: Follower, now: float) -> int:
        """Bytes read."""
        if follower.done:
            return 0
        try:
            unread = follower.unread_bytes()
            if unread <= 0 or not self.files.identify(follower):
                return 0
            budget = min(self._limits.read_bytes, unread)
            lines = follower.read(budget)
        except Truncated:
            if follower.complete:
                self._chunk(follower).records += follower.assembly.flush(now, force=True)
                follower.done = True
                self.files.lost(follower)
                return 0
            return self._truncated(follower, now)
        except OSError as error:
            self._unreadable(follower, error)
            return 0
        follower.grown_at = now
        if lines:
            self._chunk(follower).records += follower.assembly.feed(lines, now)
        return budget

    def _unreadable(self, follower: Follower, error: OSError) -> None:
        self.files.counts["unreadable"] += 1
        _log.warning("%s cannot be read: %s", follower.path, error.strerror)

    def _truncated(self, follower: Follower, now: float) -> int:
        try:
            old = self.files.replace(follower, now)
        except OSError as error:  # no descriptor is free: it is found truncated again in the next turn
            self._unreadable(follower, error)
            return 0
        chunk = self._chunks.pop(id(follower), None)
        if chunk is not None:
            chunk.follower = old
            self._chunks[id(old)] = chunk
        if old.done:
            self._chunk(old).records += old.assembly.flush(now, force=True)
        if follower.ended:
            follower.complete = True  # emptied after it was rotated away: nothing comes there any more
        return 1  # it has something, after all

    def _chunk(self, follower: Follower) -> Chunk:
        chunk = self._chunks.get(id(follower))
        if chunk is None:
            chunk = self._chunks[id(follower)] = Chunk(follower, follower.id)
        return chunk

    def _settle(self, follower: Follower, now: float) -> None:
        """What waits for more in vain; the end of one that has ended; how far all of it is."""
        if records := follower.assembly.flush(now):
            self._chunk(follower).records += records
        try:
            if follower.ended and not follower.done and self._is_over(follower, now):
                self._finish(follower, now, known=self.files.identify(follower))
        finally:
            mark = follower.mark()
            if follower.done or mark.offset != follower.stored or id(follower) in self._chunks:
                self._chunk(follower).mark = mark

    def _finish(self, follower: Follower, now: float, *, known: bool) -> None:
        chunk = self._chunk(follower)
        if known:
            chunk.records += follower.assembly.feed(follower.last_line(), now)
        chunk.records += follower.assembly.flush(now, force=True)
        chunk.mark = follower.mark()
        follower.done = True

    def _give_up(self, follower: Follower, error: OSError, now: float) -> None:
        """One that has ended cannot be read: what was read of it is all that there is if that lasts."""
        self._unreadable(follower, error)
        if now - follower.grown_at >= self._limits.rotate_wait_s:
            _log.error(
                "%s has ended and cannot be read: what is behind byte %d is lost", follower.path, follower.offset
            )
            self._finish(follower, now, known=bool(follower.id))

    def _is_over(self, follower: Follower, now: float) -> bool:
        try:
            if follower.unread_bytes() > 0:
                return False
        except Truncated:
            return True
        return follower.complete or now - follower.grown_at >= self._limits.rotate_wait_s

    def commit(self, chunks: list[Chunk]) -> None:
        """All of these are stored."""
        for chunk in chunks:
            if chunk.mark is not None:
                chunk.follower.keep(chunk.mark)
            if chunk.follower.done:
                self.files.finish(chunk.follower)

    def unread_bytes(self) -> int:
        """Of all open files, about."""
        total = 0
        for follower in self.files.all:
            with contextlib.suppress(Truncated, OSError):
                total += follower.unread_bytes()
        return total
