"""What was decided about which trace, remembered over restarts: spans that come late, or again from the buffer after a
crash, follow the decision.

Two generations, in memory and on disk: where the younger has half of what may be remembered, it becomes the elder, and
the elder is forgotten. A file is a row of entries, 16 bytes of trace id and one that says kept or dropped; a half entry
at the end is what a killed process was writing.
"""

import os
from collections.abc import Iterable
from pathlib import Path

_YOUNG, _OLD = "decisions", "decisions.1"
_ENTRY_BYTES = 17
_KEPT, _DROPPED = b"k", b"d"


class Decisions:
    """One processor's. `decide` and `get` are quick; `load` and `save` block."""

    def __init__(self, directory: Path, capacity: int) -> None:
        self._young_path, self._old_path = directory / _YOUNG, directory / _OLD
        self._half = max(1, capacity // 2)
        self._young: dict[bytes, bool] = {}
        self._old: dict[bytes, bool] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, trace_id: str) -> bool | None:
        """Whether it was kept; None: undecided, or long ago."""
        key = bytes.fromhex(trace_id)
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def decide(self, trace_id: str, kept: bool) -> tuple[bytes, bool]:
        """Remember; returns what is to be saved."""
        key = bytes.fromhex(trace_id)
        self._young[key] = kept
        return key, kept

    def load(self) -> None:
        """What the files have. Raises OSError."""
        for path, into in ((self._old_path, self._old), (self._young_path, self._young)):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            whole = len(data) - len(data) % _ENTRY_BYTES
            if whole < len(data):
                os.truncate(path, whole)
            for at in range(0, whole, _ENTRY_BYTES):
                into[data[at : at + 16]] = data[at + 16 : at + 17] == _KEPT

    def save(self, entries: Iterable[tuple[bytes, bool]]) -> None:
        """Append, and change generations where it is time. Not synced: a power cut costs the decision, and the spans,
        which are in the buffer still, are decided upon again. Raises OSError."""
        data = b"".join(key + (_KEPT if kept else _DROPPED) for key, kept in entries)
        fd = os.open(self._young_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if os.write(fd, data) < len(data):
                os.ftruncate(fd, size)
                raise OSError(28, "no space left", str(self._young_path))
        finally:
            os.close(fd)
        if len(self._young) >= self._half:
            os.replace(self._young_path, self._old_path)
            self._old, self._young = self._young, {}
