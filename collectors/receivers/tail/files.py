"""Which files there are, and what became of those that were renamed, deleted, copied and truncated, also while nobody
looked. It blocks: run it in a thread.
"""

import contextlib
import glob
import hashlib
import logging
import os
import stat as modes
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from collectors.receivers.tail.assembly import Assembly
from collectors.receivers.tail.follower import HEAD_BYTES, Follower
from collectors.receivers.tail.paths import is_compressed, rotated_siblings
from collectors.receivers.tail.positions import Position, PositionFile

_log = logging.getLogger("remora.tail")

_LONGER = tuple(".-_~")


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
        """`node` is part of every id: devices and inodes are the same on many machines."""
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
        self._cut = 0

    @property
    def all(self) -> list[Follower]:
        """Ended ones first."""
        return [*self.ended, *self.current.values()]

    def open(self, now: float) -> None:
        """Go on where the positions say. Raises OSError if they cannot be read."""
        positions = self._positions.load()
        self._is_first_start = not positions
        found = [self._restore(position, now) for position in positions]
        known = frozenset((position.device, position.inode) for position in positions)
        for position, is_current in zip(positions, found, strict=True):
            if not is_current:
                self._find_unseen(Path(position.path), Path(position.real), position.seen_ns, known, now)
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
                if follower.place == place:
                    continue
                self._end(follower, now)
            if self.follows(place) or self._is_rotated_name(path, found):
                continue
            if len(self.current) + len(self.ended) >= self._limits.max_files:
                self.waiting += 1
                continue
            self._begin(path, now)
        for path in [path for path in self.current if path not in found]:
            self._end(self.current[path], now)

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

    def _is_rotated_name(self, path: Path, found: Iterable[Path]) -> bool:
        """`app.log.1` beside `app.log`: what is in it was read under its own name."""
        return any(
            other != path
            and other.parent == path.parent
            and path.name.startswith(other.name)
            and path.name[len(other.name)] in _LONGER
            for other in found
        )

    def follows(self, place: tuple[int, int]) -> bool:
        """Whether the file with this device and inode is open."""
        return any(one.place == place for one in self.all)

    def _begin(self, path: Path, now: float) -> None:
        follower = self._open(path, path)
        if follower is None:
            return
        if self._is_copy(follower):
            follower.close()
            return
        if self._is_first_start and self._patterns.from_end:
            size = os.fstat(follower.fd).st_size
            follower.resume(size, skipping=bool(size) and os.pread(follower.fd, 1, size - 1) != b"\n")
        follower.grown_at = now
        self.current[path] = follower

    def _is_copy(self, follower: Follower) -> bool:
        """It has all that was read of another up to now: a rotated copy with a name that is to be read. If the other is
        truncated next, this is where its rest is found."""
        return any(
            one.real.parent == follower.real.parent and one.offset >= HEAD_BYTES and one.is_continued_by(follower.fd)
            for one in self.all
        )

    def _open(self, path: Path, place: Path) -> Follower | None:
        try:
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.counts["unreadable"] += 1
                _log.warning("%s is not read: %s", place, error.strerror)
            return None
        if not modes.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        real = Path(os.path.realpath(place))
        return Follower(path, real, fd, self._assembly(), max_line_bytes=self._limits.max_line_bytes)

    def _end(self, follower: Follower, now: float) -> None:
        del self.current[follower.path]
        follower.ended = True
        follower.grown_at = now
        self.ended.append(follower)
        self.counts["deleted" if os.fstat(follower.fd).st_nlink == 0 else "renamed"] += 1
        if follower.id:
            self._find_unseen(follower.path, follower.real, follower.seen_ns, frozenset(), now)

    def identify(self, follower: Follower) -> bool:
        """Give it its id. False while its first line is not whole."""
        if follower.id:
            return True
        if not follower.identify(force=follower.ended):
            return False
        known = self._positions.finished((follower.device, follower.inode, follower.first_digest))
        same = known is not None and known.is_of(follower.fd)
        if not same:
            for copied in self._positions.finished_copies(follower.first_digest):
                # By content alone where there is enough of it.
                if copied.offset >= HEAD_BYTES and copied.is_of(follower.fd):
                    known, same = copied, True
        if same and known is not None:
            follower.adopt(known)
        elif known is not None:
            follower.generation = known.generation + 1
        self._name(follower)
        return True

    def _name(self, follower: Follower) -> None:
        text = f"{self._node}\0{follower.device}:{follower.inode}:{follower.first_digest}:{follower.generation}"
        follower.id = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    # Rotation by copying.

    def replace(self, follower: Follower, now: float) -> Follower:
        """Its file was truncated: the one returned reads the rest of what was in it, from the copy if there is one. The
        follower itself goes on with what the file has now."""
        old = self._copy_of(follower)
        if old is None:
            self.lost(follower)
            old = follower.continue_in(os.dup(follower.fd), follower.real)
            old.done = True
        else:
            self.counts["copied"] += 1
        old.grown_at = now
        self.ended.append(old)
        self._find_unseen(follower.path, follower.real, os.fstat(old.fd).st_mtime_ns, frozenset(), now)
        if follower.id:
            self._positions.finish(follower.position())
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
                if follower.is_continued_by(fd):
                    return follower.continue_in(fd, Path(entry.path))
                os.close(fd)
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
        follower = self._open(path, place)
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

    def _find_unseen(self, path: Path, real: Path, seen_ns: int, known: frozenset[tuple[int, int]], now: float) -> None:
        """Contents that came and were rotated away while nobody looked: rotated files that were written to since."""
        for entry in rotated_siblings(real):
            stat = entry.stat(follow_symlinks=False)
            place = (stat.st_dev, stat.st_ino)
            if stat.st_mtime_ns <= seen_ns or place in known or self.follows(place):
                continue
            follower = self._open(path, Path(entry.path))
            if follower is not None:
                follower.ended = True
                follower.grown_at = now
                self.ended.append(follower)

    # Afterwards.

    def finish(self, follower: Follower) -> None:
        """All of one that has ended is stored."""
        self.ended.remove(follower)
        self._cut += follower.assembly.cut
        if follower.id:
            self._positions.finish(follower.position())
        follower.close()

    def save(self) -> None:
        """Positions, durably. Raises OSError."""
        self._positions.save([one.position() for one in self.all if one.id])

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
