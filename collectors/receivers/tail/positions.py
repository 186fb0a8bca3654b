"""How far each file is stored: one small JSON file, replaced as a whole.

A file is found again by device, inode, its first bytes and those before the offset, so that neither a rename nor an
inode that is used again misleads; a copy by those bytes alone. Ids of records are made of the path, the first line and
a generation, which tells contents apart that had both in common one after the other: so a copy's records are the
original's.
"""

import hashlib
import json
import logging
import os
from collections import OrderedDict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mesh.files import write_atomic

_log = logging.getLogger("remora.tail")

VERSION = 1
MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_FINISHED = 1_000


def digest(data: bytes) -> str:
    """Of a file's first bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def content_id(node: str, origin: str, first_digest: str, generation: int) -> str:
    """What ids of the records in one content begin with: 24 hex digits."""
    text = f"{node}\0{origin}\0{first_digest}\0{generation}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Position:
    """One file's."""

    path: str
    """By which it was found; a rotated file's is still that of its successor."""
    origin: str
    """By which it was found first: part of the identity."""
    real: str
    """Without links, when it was opened; a copy's is that of the original."""
    device: int
    inode: int
    generation: int
    first_digest: str
    """Of the first line, at most 1 KiB: part of the identity, and the same for ever."""
    head_length: int
    head_digest: str
    """Of the first bytes, as many as there were up to 1 KiB."""
    tail_length: int
    tail_digest: str
    """Of the last bytes before the offset. By these and the first ones a rotated copy is recognised."""
    offset: int
    """Everything before it is stored."""
    skipping: bool
    """The offset is within a line that was too long: the rest of it is not read as one."""
    ended: bool
    """Rotated away: it has a successor."""
    accounted_ns: int
    """Rotated files beside it that were last written to up to then are accounted for (nanoseconds since the epoch)."""

    @property
    def key(self) -> Key:
        """What contents one after the other may have in common."""
        return self.origin, self.first_digest

    def is_of(self, fd: int) -> bool:
        """Whether the open file has the content that this position is in, still."""
        tail = self.tail_length
        return (
            os.fstat(fd).st_size >= self.offset
            and digest(os.pread(fd, self.head_length, 0)) == self.head_digest
            and (not tail or digest(os.pread(fd, tail, self.offset - tail)) == self.tail_digest)
        )


class PositionFile:
    """Reads once, then replaces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._finished: OrderedDict[Key, Position] = OrderedDict()

    def load(self) -> list[Position] | None:
        """None where there is no file yet; empty where it is broken: that one is moved aside. Raises OSError."""
        try:
            with open(self._path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        try:
            if len(data) > MAX_FILE_BYTES:
                raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
            document = json.loads(data)
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r}, this program knows {VERSION}")
            positions = [_position(entry) for entry in document["files"]]
            for entry in document["finished"]:
                self.finish(_position(entry))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            aside = self._path.with_name(f"{self._path.name}.broken")
            os.replace(self._path, aside)
            self._finished.clear()
            _log.error(
                "%s is broken (%s) and was moved to %s: files are read from their start", self._path, error, aside
            )
            return []
        return positions

    def save(self, positions: list[Position]) -> None:
        """Durable when it returns. Raises OSError; then what was there before is."""
        document = {
            "version": VERSION,
            "files": [asdict(position) for position in positions],
            "finished": [asdict(position) for position in self._finished.values()],
        }
        write_atomic(self._path, json.dumps(document, separators=(",", ":")).encode(), mode=0o600)

    def finish(self, position: Position) -> None:
        """Remember one that was read to its end: it is known again under another name, and what takes its inode is told
        apart from it."""
        self._finished.pop(position.key, None)
        self._finished[position.key] = position
        while len(self._finished) > _MAX_FINISHED:
            self._finished.popitem(last=False)

    def finished(self, key: Key) -> Position | None:
        """The last one with these in common."""
        return self._finished.get(key)

    def last_finished(self) -> dict[str, Position]:
        """By path, what was read to its end there last."""
        return {position.path: position for position in self._finished.values()}

    def finished_like(self, first_digest: str) -> list[Position]:
        """Those that begin in this way, wherever they were."""
        return [one for one in self._finished.values() if one.first_digest == first_digest]


def _position(entry: Any) -> Position:
    values = {field.name: entry[field.name] for field in fields(Position)}
    position = Position(**values)
    for field in fields(Position):
        if type(values[field.name]).__name__ != str(getattr(field.type, "__name__", field.type)):
            raise ValueError(f"{field.name} of {entry['path']!r} is no {field.type}")
    if position.offset < 0 or min(position.head_length, position.tail_length) < 0:
        raise ValueError(f"an offset of {entry['path']!r} is negative")
    return position
