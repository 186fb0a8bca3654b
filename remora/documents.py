"""Rule files as the user names them: FILE, DIRECTORY or `-`, read as text within a size limit."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from remora.failure import Failure

MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_CALL_BYTES = 8 * 1024 * 1024
"""Of all files of one call together. The control plane has the same limits (control.api.source)."""

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Document:
    """One file's name, as messages show it, and its text."""

    name: str
    text: str

    def plain(self) -> dict[str, str]:
        """As the control plane's REST interface takes it."""
        return {"name": self.name, "text": self.text}


def read(places: Sequence[str], stdin: BinaryIO | None = None) -> list[Document]:
    """Every file that `places` name, directories with what is below them, in order.

    Raises Failure for what can not be read, is too large, is no UTF-8, or for a directory without any rules.
    """
    documents: list[Document] = []
    left = MAX_CALL_BYTES
    for place in places:
        for name in _names(place):
            data = _read_limited(name, stdin or sys.stdin.buffer)
            left -= len(data)
            if left < 0:
                raise Failure(
                    f"{name}:1: makes this call larger than {MAX_CALL_BYTES:,} bytes; apply fewer files at once"
                )
            documents.append(Document(name, _decode(name, data)))
    return documents


def _names(place: str) -> Iterator[str]:
    path = Path(place)
    if place == "-" or not path.is_dir():
        yield place
        return
    found = False
    for each in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
        if each.suffix in SUFFIXES and not hidden and not each.is_dir():
            found = True
            yield str(each)
    if not found:
        raise Failure(f"{place}: no {', '.join(SUFFIXES)} file in this directory")


def _read_limited(name: str, stdin: BinaryIO) -> bytes:
    try:
        if name == "-":
            data = stdin.read(MAX_FILE_BYTES + 1)
            size = "too many"
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
                size = f"{os.fstat(file.fileno()).st_size:,}"
    except OSError as error:
        raise Failure(f"{name}: cannot read it: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise Failure(f"{name}:1: has {size} bytes; a file has at most {MAX_FILE_BYTES:,}: split it")
    return data


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(
            f"{name}:{line}: not text: byte 0x{data[error.start]:02x} is no UTF-8; save it as UTF-8"
        ) from None
