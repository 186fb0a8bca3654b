"""Which files there are, and what became of those that were renamed, deleted, copied and truncated, also while nobody
looked. It blocks: run it in a thread.
"""

import contextlib
import glob
import logging
import os
import stat as modes
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from collectors.receivers.tail.assembly import Assembly
from collectors.receivers.tail.follower import HEAD_BYTES, Follower
from collectors.receivers.tail.paths import base_names, is_compressed, rotated_siblings
from collectors.receivers.tail.positions import Position, PositionFile, content_id

_log = logging.getLogger("remora.tail")


@dataclass(frozen=True, slots=True)
class Patterns:
    """Which files."""

    include: tuple[str, ...]
    """Globs; ** is any number of directories."""
    exclude: tuple[str, ...] = ()
    from_end: bool = False
    """Of files that are there at the very first start, only what comes from then on."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How many, and how long a line may be."""

    max_files: int = 512
    """Open at once; others wait for one of these to end."""
    max_line_bytes: int = 256 * 1024


class Files:
    """All files of some patterns."""

    def __init__(
        self,
        patterns: Patterns,
        positions: PositionFile,
        assembly: Callable[[], Assembly],
        limits: FileLimits,
        node: str,
    ) -> None:
        """`node` is part of every id: paths are the same on many machines."""
        self._patterns = patterns
        self._positions = positions
        self._assembly = assembly
        self._limits = limits
        self._node = node
        self._is_first_start = False
        self.current: dict[Path, Follower] = {}
        """By the path under which they were found."""
        self.ended: list[Follower] = []
        """Rotated away, and still to be read."""
        self.counts: Counter[str] = Counter()
        """What happened: renamed, deleted, copied, truncated, vanished, unreadable."""
        self.waiting = 0
        """Files that are not open, for there are too many."""
        self.has_unsaved_names = False
        """A file has got its id since whoever saves positions looked: they are to be saved before it is read on."""
        self._cut = 0
        self._accounted: dict[Path, int] = {}
        """By path: up to which time of their last change rotated files are accounted for."""

    @property
    def all(self) -> list[Follower]:
        """Ended ones first."""
        return [*self.ended, *self.current.values()]

    def open(self, now: float) -> None:
        """Go on where the positions say. Raises OSError if they cannot be read."""
        loaded = self._positions.load()
        finished = self._positions.last_finished()
        self._is_first_start = loaded is None
        positions = loaded or []
        for position in positions:
            self._account(Path(position.path), position.accounted_ns)
        found = [self._restore(position, now) for position in positions]
        known = frozenset((position.device, position.inode) for position in positions)
        for position, is_current in zip(positions, found, strict=True):
            if not is_current:
                self._find_unseen(Path(position.path), Path(position.real), now, known)
        paths = {position.path for position in positions}
        for path, position in finished.items():
            if path not in paths:
                self._account(Path(path), position.accounted_ns)
                self._find_unseen(Path(path), Path(position.real), now, known)
        self.scan(now)
        self._is_first_start = False

    def scan(self, now: float) -> None:
        """Look for new, renamed and deleted files. `now`: monotonic seconds."""
        found = self._matching()
        self.waiting = 0
        for path, stat in found.items():
            follower = self.current.get(path)
            place = (stat.st_dev, stat.st_ino)
            if follower is not None:
                if follower.place != place:
                    self._end(follower, now)
                self._find_unseen(path, follower.real, now, frozenset((place,)))
                if follower.place == place:
                    continue
            if self.follows(place) or self._is_rotated_name(path, found):
                continue
            if len(self.current) + len(self.ended) >= self._limits.max_files:
                self.waiting += 1
                continue
            try:
                self._begin(path, now)
            except OSError as error:
                self._unreadable(path, error)
        for path in [path for path in self.current if path not in found]:
            self._end(self.current[path], now)
        known = {one.path for one in self.all}
        for path in [path for path in self._accounted if path not in known]:
            del self._accounted[path]

    def _matching(self) -> dict[Path, os.stat_result]:
        found: dict[Path, os.stat_result] = {}
        for pattern in self._patterns.include:
            for name in glob.iglob(pattern, recursive=True):
                if is_compressed(name) or any(fnmatchcase(name, one) for one in self._patterns.exclude):
                    continue
                with contextlib.suppress(OSError):  # gone again, or a link to nothing
                    stat = os.stat(name)
                    if modes.S_ISREG(stat.st_mode):
                        found[Path(name)] = stat
        return found

    def _is_rotated_name(self, path: Path, found: Container[Path]) -> bool:
        """`app.log.1` beside `app.log`: what is in it was read under its own name."""
        return any(path.with_name(name) in found for name in base_names(path.name))

    def follows(self, place: tuple[int, int]) -> bool:
        """Whether the file with this device and inode is open."""
        return any(one.place == place for one in self.all)

    def _unreadable(self, path: Path, error: OSError) -> None:
        self.counts["unreadable"] += 1
        _log.warning("%s is not read: %s", path, error.strerror)

    def _begin(self, path: Path, now: float) -> None:
        follower = self._open(path, path)
        if follower is None:
            return
        try:
            is_copy = self._is_copy(follower)
            if self._is_first_start and self._patterns.from_end:
                # Known at once, by half a line if need be: one in which nothing more comes has a position to save, too.
                self.identify(follower, force=True)
                size = os.fstat(follower.fd).st_size
                follower.resume(size, skipping=bool(size) and os.pread(follower.fd, 1, size - 1) != b"\n")
        except OSError:
            follower.close()
            raise
        if is_copy:
            follower.close()
            return
        follower.grown_at = now
        self.current[path] = follower
        if path not in self._accounted:
            # What was rotated before anybody looked is nobody's to read.
            newest = rotated_siblings(follower.real)[:1]
            self._account(path, newest[0].stat(follow_symlinks=False).st_mtime_ns if newest else 0)

    def _is_copy(self, follower: Follower) -> bool:
        """It has all that was read of another up to now: a rotated copy with a name that is to be read. If the other is
        truncated next, this is where its rest is found."""
        return any(
            one.real.parent == follower.real.parent and one.offset >= HEAD_BYTES and one.is_continued_by(follower.fd)
            for one in self.all
        )

    def _open(self, path: Path, place: Path, real: Path | None = None) -> Follower | None:
        try:
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._unreadable(place, error)
            return None
        if not modes.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return Follower(
            path,
            real or Path(os.path.realpath(place)),
            fd,
            self._assembly(),
            max_line_bytes=self._limits.max_line_bytes,
        )

    def _end(self, follower: Follower, now: float) -> None:
        del self.current[follower.path]
        follower.ended = True
        follower.grown_at = now
        self.ended.append(follower)
        try:
            is_deleted = os.fstat(follower.fd).st_nlink == 0
        except OSError:  # stale: its server has no such file any more
            is_deleted = True
        self.counts["deleted" if is_deleted else "renamed"] += 1

    def identify(self, follower: Follower, *, force: bool = False) -> bool:
        """Give it its id. False while its first line is not whole (`force`: what there is will do)."""
        if follower.id:
            return True
        if not follower.identify(force=force or follower.ended):
            return False
        first = follower.first_digest
        for position in self._positions.finished_like(first):
            # By content alone where there is enough of it.
            same_place = follower.place == (position.device, position.inode)
            if (same_place or position.offset >= HEAD_BYTES) and position.is_of(follower.fd):
                follower.adopt(position)
                break
        else:
            follower.generation = self._next_generation(follower.origin, first)
        self._name(follower)
        return True

    def _next_generation(self, origin: str, first_digest: str) -> int:
        finished = self._positions.finished((origin, first_digest))
        generations = [-1 if finished is None else finished.generation]
        generations += [
            one.generation for one in self.all if one.id and one.origin == origin and one.first_digest == first_digest
        ]
        return max(generations) + 1

    def _name(self, follower: Follower) -> None:
        follower.id = content_id(self._node, follower.origin, follower.first_digest, follower.generation)
        self.has_unsaved_names = True

    # Rotation by copying.

    def replace(self, follower: Follower, now: float) -> Follower:
        """Its file was truncated: the one returned reads the rest of what was in it, from the copy if there is one. The
        follower itself goes on with what the file has now. Raises OSError where no descriptor is free: nothing changed
        then."""
        old = self._copy_of(follower)
        if old is None:
            old = follower.continue_in(os.dup(follower.fd))
            old.done = True
            self.lost(follower)
        else:
            self.counts["copied"] += 1
        old.grown_at = now
        self.ended.append(old)
        self._find_unseen(follower.path, follower.real, now)
        if follower.id:
            self._positions.finish(follower.position(self._accounted.get(follower.path, 0)))
        follower.assembly = self._assembly()
        follower.restart()
        return old

    def lost(self, follower: Follower) -> None:
        """Its content is gone."""
        self.counts["truncated"] += 1
        _log.warning(
            "%s was truncated after %d bytes were read, and there is no copy of it: what was not read is lost",
            follower.real, follower.offset,
        )  # fmt: skip

    def _copy_of(self, follower: Follower) -> Follower | None:
        for entry in rotated_siblings(follower.real):
            with contextlib.suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                if self.follows((stat.st_dev, stat.st_ino)):
                    continue
                fd = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
                is_it = False
                try:
                    is_it = follower.is_continued_by(fd)
                finally:
                    if not is_it:
                        os.close(fd)
                if is_it:
                    return follower.continue_in(fd)
        return None

    # Where a restart goes on.

    def _restore(self, position: Position, now: float) -> bool:
        """Whether it is where it was."""
        path = Path(position.path)
        places = [path, *(Path(entry.path) for entry in rotated_siblings(Path(position.real)))]
        for by_content in (False, True):
            for place in places:
                follower = self._resumed(path, place, position, by_content=by_content)
                if follower is None:
                    continue
                follower.grown_at = now
                if place == path and not by_content and not position.ended:
                    self.current[path] = follower
                    return True
                follower.ended = True
                follower.complete = by_content
                self.ended.append(follower)
                return False
        self._positions.finish(position)
        if not position.ended:
            self.counts["vanished"] += 1
            _log.warning("%s is not there any more: what came after byte %d is lost", path, position.offset)
        return False

    def _resumed(self, path: Path, place: Path, position: Position, *, by_content: bool) -> Follower | None:
        follower = self._open(path, place, Path(position.real))
        if follower is None:
            return None
        # The content must be the same; the place too, unless it is a copy that is looked for.
        same_place = follower.place == (position.device, position.inode)
        is_it = same_place != by_content and not self.follows(follower.place) and position.is_of(follower.fd)
        if is_it and follower.identify(force=True):
            follower.adopt(position)
            self._name(follower)
            return follower
        follower.close()
        return None

    def _find_unseen(self, path: Path, real: Path, now: float, known: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Contents that came and were rotated away while nobody looked: rotated files that are not accounted for. They
        are named at once, the oldest first: generations are then the same whenever this is found out."""
        for entry in reversed(rotated_siblings(real)):
            with contextlib.suppress(FileNotFoundError):  # rotated on
                stat = entry.stat(follow_symlinks=False)
                place = (stat.st_dev, stat.st_ino)
                if stat.st_mtime_ns <= self._accounted.get(path, 0) or place in known or self.follows(place):
                    continue
                follower = self._open(path, Path(entry.path), real)
                if follower is None:
                    continue
                try:
                    is_being_copied = self._is_being_copied(follower)
                except OSError as error:  # looked at again at the next scan
                    self._unreadable(Path(entry.path), error)
                    is_being_copied = True
                if is_being_copied:
                    follower.close()
                    continue
                self._account(path, stat.st_mtime_ns)
                follower.ended = True
                follower.grown_at = now
                self.ended.append(follower)
                with contextlib.suppress(OSError):  # counted when it is to be read
                    self.identify(follower)

    def _is_being_copied(self, copy: Follower) -> bool:
        """It begins as one that is being read, or is empty yet: when that one is truncated, its rest is found there."""
        head = os.pread(copy.fd, HEAD_BYTES, 0)
        return not head or any(
            one.real == copy.real and bool(one.head) and (head.startswith(one.head) or one.head.startswith(head))
            for one in self.all
        )

    def _account(self, path: Path, time_ns: int) -> None:
        self._accounted[path] = max(time_ns, self._accounted.get(path, 0))

    # Afterwards.

    def finish(self, follower: Follower) -> None:
        """All of one that has ended is stored."""
        self.ended.remove(follower)
        if not self.follows(follower.place):
            with contextlib.suppress(OSError):  # stale
                self._account(follower.path, os.fstat(follower.fd).st_mtime_ns)
        self._cut += follower.assembly.cut
        if follower.id:
            self._positions.finish(follower.position(self._accounted.get(follower.path, 0)))
        follower.close()

    def save(self) -> None:
        """Positions, durably. Raises OSError."""
        self._positions.save([one.position(self._accounted.get(one.path, 0)) for one in self.all if one.id])

    def close(self) -> None:
        """Of files; positions are saved before."""
        for follower in self.all:
            follower.close()
        self.current.clear()
        self.ended.clear()

    @property
    def cut_lines(self) -> int:
        """Lines that were longer than is taken, so far."""
        return self._cut + sum(one.assembly.cut for one in self.all)

    def directories(self) -> set[Path]:
        """Where something happens when a file grows or rotates."""
        return {one.real.parent for one in self.all} | {path.parent for path in self.current}
