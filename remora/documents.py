"""Rule files as the user names them: FILE, DIRECTORY or `-`, read as text within a size limit."""

import os
import select
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from remora.failure import Failure

MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_CALL_BYTES = 8 * 1024 * 1024
"""Of all files of one call together. The control plane has the same limits (control.api.source)."""

MAX_FILES = 10_000
"""Of one call; the control plane takes no more."""
MAX_VISITED = 200_000
"""Names looked at below one directory: `-f /` is a mistake that shall not take minutes."""
PIPE_S = 10.0
"""For whoever writes to a named pipe, or to one of `-f <(COMMAND)`, to write more."""

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Document:
    """One file's name, as messages show it, and its text."""

    name: str
    text: str

    def plain(self) -> dict[str, str]:
        """As the control plane's REST interface takes it."""
        return {"name": self.name, "text": self.text}


def read(
    places: Sequence[str],
    stdin: BinaryIO | None = None,
    *,
    pipe_s: float = PIPE_S,
    max_visited: int = MAX_VISITED,
) -> list[Document]:
    """Every file that `places` name, directories with what is below them, in order.

    Raises Failure for what can not be read, is too large, is no UTF-8, or for a directory without any rules.
    """
    documents: list[Document] = []
    left = MAX_CALL_BYTES
    for place in places:
        for name in _names(place, max_visited):
            if len(documents) == MAX_FILES:
                raise Failure(
                    f"{place}: has more rules than fit into one call: {MAX_FILES:,} files; name fewer at once"
                )
            data = _read_limited(name, stdin or sys.stdin.buffer, pipe_s)
            left -= len(data)
            if left < 0:
                raise Failure(
                    f"{name}:1: makes this call larger than {MAX_CALL_BYTES:,} bytes; apply fewer files at once"
                )
            documents.append(Document(name, _decode(name, data)))
    return documents


def _names(place: str, max_visited: int) -> Iterator[str]:
    path = Path(place)
    if place == "-" or not path.is_dir():
        yield place
        return
    found = False
    for name in _below(path, max_visited):
        found = True
        yield name
    if not found:
        raise Failure(f"{place}: no {', '.join(SUFFIXES)} file in this directory")


def _below(root: Path, max_visited: int) -> Iterator[str]:
    """Rule files, in order; what is hidden, and links to directories, are passed by."""
    visited = 0
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        visited += len(folders) + len(files)
        if visited > max_visited:
            raise Failure(f"{root}: more than {max_visited:,} files below it; name a directory of rules")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix in SUFFIXES and not name.startswith("."):
                yield str(Path(folder, name))


def _unreadable(error: OSError) -> None:
    raise Failure(f"{error.filename}: cannot read it: {error.strerror}") from error


def _read_limited(name: str, stdin: BinaryIO, pipe_s: float) -> bytes:
    try:
        data, size = _read_stdin(stdin) if name == "-" else _read_file(name, pipe_s)
    except OSError as error:
        raise Failure(f"{name}: cannot read it: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise Failure(f"{name}:1: has {size} bytes; a file has at most {MAX_FILE_BYTES:,}: split it")
    return data


def _read_stdin(stdin: BinaryIO) -> tuple[bytes, str]:
    return stdin.read(MAX_FILE_BYTES + 1), "too many"


def _read_file(name: str, pipe_s: float) -> tuple[bytes, str]:
    """What it holds, cut off beyond the limit, and its size in words."""
    # Without blocking: to open a named pipe waits for somebody who writes to it.
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            os.set_blocking(fd, True)
            return _read_up_to(file, MAX_FILE_BYTES + 1), f"{status.st_size:,}"
        if stat.S_ISFIFO(status.st_mode):
            return _read_pipe(name, fd, pipe_s), "too many"
    raise Failure(f"{name}: is neither a file nor a directory nor a pipe; name a file of rules")


def _read_up_to(file: FileIO, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := file.read(size - len(data))):
        data += piece
    return bytes(data)


def _read_pipe(name: str, fd: int, patience_s: float) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + patience_s
    while len(data) <= MAX_FILE_BYTES:
        left_ms = max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left_ms):
            raise Failure(f"{name}: nobody writes to this pipe; waited {patience_s:g} s")
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        data += piece
        deadline = time.monotonic() + patience_s
    return bytes(data[: MAX_FILE_BYTES + 1])


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(
            f"{name}:{line}: not text: byte 0x{data[error.start]:02x} is no UTF-8; save it as UTF-8"
        ) from None
