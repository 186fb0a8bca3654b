"""Changes to several files that happen together or not at all, also if the process or the machine dies in the middle.

A change is staged in a directory of its own and synced; renaming that directory to `journal` is the moment it counts.
Then its files are moved to their places. What was interrupted before that moment is thrown away by `recover`, what was
interrupted after it is finished; both can be repeated.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from control.stores.errors import NothingApplied, StoreCorrupt
from mesh.files import sync_directory, sync_file_system

MANY_FILES = 64
"""More are synced together with whatever else is on their file system, which for few would be the slower way."""

_MANIFEST = "manifest.json"
_log = logging.getLogger("remora.store")


@dataclass(frozen=True, slots=True)
class Written:
    """A file's new content and the modification time to give it, in seconds since the epoch."""

    data: bytes
    modified_at: float


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls that fail where a disk is full or broken, and decide whether a change counts. The kernel's own."""

    mkdir: Callable[[Path, int], None] = os.mkdir
    utime: Callable[[Path, tuple[float, float]], None] = os.utime
    fsync: Callable[[int], None] = os.fsync
    rename: Callable[[Path, Path], None] = os.rename


KERNEL = Disk()


class Journal:
    """Changes the files under `root`; keeps its own under `home`, which must be on the same file system."""

    def __init__(self, root: Path, home: Path, disk: Disk = KERNEL) -> None:
        self._root = root
        self._disk = disk
        self._staged = home / ".staged"
        self._committed = home / "journal"
        self._home = home

    def change(self, written: Mapping[PurePosixPath, Written], removed: frozenset[PurePosixPath]) -> None:
        """Write and remove files, by paths relative to the root. Raises NothingApplied; then nothing has changed."""
        try:
            self.recover()
            self._stage(written, removed)
        except OSError as error:
            shutil.rmtree(self._staged, ignore_errors=True)
            raise NothingApplied(f"nothing was applied: {error.strerror or error} ({self._root})") from error
        try:
            self._play()
        except OSError as error:
            # The change counts: it is on disk whole. Only the files are not yet in their places.
            _log.error("a change is stored in %s but not yet in its place: %s", self._committed, error)

    def recover(self) -> None:
        """Finish or discard what was interrupted. Raises OSError, StoreCorrupt."""
        shutil.rmtree(self._staged, ignore_errors=True)
        if self._committed.exists():
            self._play()

    def _stage(self, written: Mapping[PurePosixPath, Written], removed: frozenset[PurePosixPath]) -> None:
        self._disk.mkdir(self._staged, 0o700)
        manifest = {"written": [str(path) for path in written], "removed": sorted(map(str, removed))}
        together = len(written) > MANY_FILES
        for index, (path, content) in enumerate(written.items()):
            # Made now, so that nothing after the commit needs space.
            self._make_directory((self._root / path).parent)
            self._write(self._staged / str(index), content.data, sync=not together)
            self._disk.utime(self._staged / str(index), (content.modified_at, content.modified_at))
        self._write(self._staged / _MANIFEST, json.dumps(manifest).encode())
        if together and not sync_file_system(self._staged):
            for index in range(len(written)):
                with open(self._staged / str(index), "rb") as file:
                    self._disk.fsync(file.fileno())
        sync_directory(self._staged, self._disk.fsync)
        self._disk.rename(self._staged, self._committed)
        try:
            sync_directory(self._home, self._disk.fsync)
        except OSError:  # it may or may not survive a crash, so it must not count
            self._disk.rename(self._committed, self._staged)
            raise

    def _make_directory(self, path: Path) -> None:
        if not path.is_dir():
            self._make_directory(path.parent)
            self._disk.mkdir(path, 0o755)

    def _write(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            if sync:
                self._disk.fsync(file.fileno())

    def _play(self) -> None:
        manifest_path = self._committed / _MANIFEST
        try:
            manifest = json.loads(manifest_path.read_bytes())
        except FileNotFoundError:  # everything was in its place, and tidying up was interrupted
            shutil.rmtree(self._committed)
            return
        except ValueError as error:
            raise StoreCorrupt(f"{manifest_path} is no journal: {error}") from error
        touched = set()
        for index, path in enumerate(manifest["written"]):
            staged = self._committed / str(index)
            if staged.exists():
                os.replace(staged, self._root / path)
            touched.add((self._root / path).parent)
        for path in manifest["removed"]:
            (self._root / path).unlink(missing_ok=True)
            if (self._root / path).parent.exists():
                touched.add((self._root / path).parent)
        for directory in touched:
            sync_directory(directory, self._disk.fsync)
        manifest_path.unlink()
        shutil.rmtree(self._committed)
