"""Which second directory a buffer has records in. Blocking.

A start that does not see it (the setting is gone, the disk not mounted) would take its records for delivered: numbers
of segments that are there would be used again, and the next start that sees it would remove them. So both directories
say that they belong together, and a buffer whose other half is missing is not opened.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from collectors.delivery.errors import BufferFault
from collectors.delivery.segments import list_segments
from mesh.files import sync_directory, write_atomic

MARK = "spill.json"
"""In the buffer's directory: `id`, and where the second one is."""
OWNER = "buffer.json"
"""In the second directory: the same `id`, and where the buffer is."""


class _Half(NamedTuple):
    """What one directory says of the other."""

    id: str
    other: Path


def join(directory: Path, spill: Path | None) -> None:
    """Make sure that every spilled record is in `spill`, and that a later start finds it there; makes `spill`.

    Raises BufferFault if there are, or may be, spilled records elsewhere, or another buffer's in `spill`; OSError.
    """
    mark = _read(directory / MARK)
    if mark is not None:
        if spill is not None and _id_of(spill) == mark.id:
            if mark.other != spill.absolute() or _read(spill / OWNER) != _Half(mark.id, directory.absolute()):
                _write(directory, spill, mark.id)  # one of them was moved
            return
        _leave(directory, mark, spill)
    if spill is None:
        return
    spill.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = _read(spill / OWNER)
    if owner is not None:
        _refuse_another_s(spill, owner)
    _write(directory, spill, os.urandom(16).hex())


def partner(directory: Path) -> Path | None:
    """The second directory that a buffer's says it has. Raises BufferFault."""
    mark = _read(directory / MARK)
    return None if mark is None else mark.other


def _leave(directory: Path, mark: _Half, spill: Path | None) -> None:
    """Forget a second directory, if it can be seen that no records are in it."""
    if _id_of(mark.other) == mark.id and not list_segments(mark.other, spilled=True):
        (directory / MARK).unlink()
        sync_directory(directory)
        (mark.other / OWNER).unlink()
        return
    now = "spill is not set" if spill is None else f"spill.directory {spill} is not that directory, or not mounted"
    raise BufferFault(
        f"the buffer {directory} may have records in {mark.other}, and {now}: write overflow: spill and "
        f"spill.directory: {mark.other} until they are delivered, or give them up by removing {directory / MARK}"
    )


def _refuse_another_s(spill: Path, owner: _Half) -> None:
    if _id_of_mark(owner.other) == owner.id:
        raise BufferFault(f"{spill} is the spill directory of the buffer {owner.other}: write another one")
    if list_segments(spill, spilled=True):
        raise BufferFault(
            f"{spill} has records that were spilled by the buffer {owner.other}: write another directory, or move its "
            "files away"
        )


def _write(directory: Path, spill: Path, id_: str) -> None:
    # In this order: a mark without its other half would be taken for a disk that is not mounted.
    for path, other in ((spill / OWNER, directory), (directory / MARK, spill)):
        text = json.dumps({"id": id_, "directory": str(other.absolute())})
        write_atomic(path, text.encode() + b"\n", mode=0o600)


def _id_of(spill: Path) -> str:
    half = _read(spill / OWNER)
    return "" if half is None else half.id


def _id_of_mark(directory: Path) -> str:
    half = _read(directory / MARK)
    return "" if half is None else half.id


def _read(path: Path) -> _Half | None:
    try:
        found = json.loads(path.read_bytes())
        return _Half(str(found["id"]), Path(str(found["directory"])))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BufferFault(f"{path} is damaged: it says which directories belong to a buffer") from error
