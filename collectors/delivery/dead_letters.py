"""What a back end refused for good, as lines of JSON: time, exporter, reason, signal, record. Blocking.

Bounded by size: files are rotated, and the oldest leaves. They are for people, and for sending again what was refused
once its cause is gone; a record's credentials were taken out before it came into the buffer.
"""

import json
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from collectors.delivery.lines import end_of_last_line
from collectors.exporters.sink import Refusal
from collectors.records import LogRecord, SpanRecord
from mesh.files import sync_directory

_log = logging.getLogger("remora.buffer")

NAME = "dead-letters.ndjson"
FILES = 4
"""The one being written and those before it, `.1` to `.3`."""
MAX_REASON_CHARS = 500


class DeadLetters:
    """One exporter's."""

    def __init__(self, directory: Path, exporter: str, max_bytes: int) -> None:
        self._path = directory / NAME
        self._exporter = exporter
        self._file_bytes = max(1, max_bytes // FILES)
        self._checked = False
        """Whether half a line of a killed process would have been found."""
        self.dropped_files = 0

    def write(self, refusals: Iterable[Refusal], now: float) -> None:
        """Durable when it returns. Raises OSError; then nothing of it may be there, or half of a last line."""
        data = b"".join(self._line(refusal, now) for refusal in refusals)
        fd = self._open()
        try:
            size = os.fstat(fd).st_size
            if not self._checked:
                size = end_of_last_line(fd, size)
                self._checked = True
            if size and size + len(data) > self._file_bytes:
                # Its number may be another file's as soon as it is closed, also where what follows fails.
                closing, fd = fd, -1
                os.close(closing)
                self._rotate()
                fd = self._open()
                size = 0
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fdatasync(fd)
                if not size:
                    sync_directory(self._path.parent)
            except OSError:
                os.ftruncate(fd, size)
                raise
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _line(self, refusal: Refusal, now: float) -> bytes:
        record = refusal.record
        signal = "logs" if isinstance(record, LogRecord) else "traces" if isinstance(record, SpanRecord) else "metrics"
        line = {
            "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "exporter": self._exporter,
            "reason": refusal.why[:MAX_REASON_CHARS],
            "signal": signal,
            "record": record._asdict(),
        }
        # Escaped to ASCII: whatever is in a record, its line stays one line, for terminals too.
        return json.dumps(line, default=str).encode("ascii") + b"\n"

    def _rotate(self) -> None:
        last = self._path.with_name(f"{NAME}.{FILES - 1}")
        if last.exists():
            self.dropped_files += 1
            _log.error("%s: the oldest dead letters were removed to make room", last)
        for number in range(FILES - 1, 0, -1):
            older = self._path.with_name(f"{NAME}.{number - 1}") if number > 1 else self._path
            if older.exists():
                os.replace(older, self._path.with_name(f"{NAME}.{number}"))
