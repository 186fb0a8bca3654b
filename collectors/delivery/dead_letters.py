"""What a back end refused for good, as lines of JSON: time, exporter, reason, signal, record. Blocking.

Bounded by size: files are rotated, and the oldest leaves. They are for people, and for sending again what was refused
once its cause is gone; a record's credentials were taken out before it came into the buffer.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from collectors.exporters.sink import Refusal
from collectors.records import LogRecord, SpanRecord
from mesh.line_file import LineFile

_log = logging.getLogger("remora.buffer")

NAME = "dead-letters.ndjson"
FILES = 4
"""The one being written and those before it, `.1` to `.3`."""
MAX_REASON_CHARS = 500


class DeadLetters:
    """One exporter's."""

    def __init__(self, directory: Path, exporter: str, max_bytes: int) -> None:
        self._file = LineFile(directory / NAME, max_bytes=max(1, max_bytes // FILES), keep=FILES - 1)
        self._exporter = exporter
        self.dropped_files = 0

    def write(self, refusals: Iterable[Refusal], now: float) -> None:
        """Durable when it returns. Raises OSError; then nothing of it is there."""
        removed = self._file.append(b"".join(self._line(refusal, now) for refusal in refusals))
        if removed is not None:
            self.dropped_files += 1
            _log.error("%s: the oldest dead letters were removed to make room", removed)

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
