"""The exporter `file`: records as lines of JSON, for other programs to read, and to see what a route carries.

A batch is written and synced as a whole, or cut off again. Killed in between, the process leaves whole lines of a batch
that is written once more after the restart: a line's `id` tells, as everywhere. Rotated by size.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from pydantic import Field

from collectors.exporters.sink import Outcome, Unavailable
from collectors.records import Batch, LogRecord, Sample, SpanRecord
from collectors.settings.buffers import ExporterSettings
from collectors.settings.context import Context
from collectors.settings.types import AnyPath, Size
from mesh.line_file import LineFile


class Settings(ExporterSettings):
    """`type: file`."""

    path: AnyPath
    """Its directory must be there."""
    max_bytes: Size = Field(default=256 << 20, ge=1 << 10)
    """Of one file; then it is renamed to `.1`, that to `.2`."""
    keep: int = Field(default=3, ge=0, le=1_000)
    """Renamed files; older ones are removed."""
    fsync: bool = True
    """Before the buffer forgets what was written."""

    @property
    def writes(self) -> tuple[Path, ...]:
        """Every file that this exporter may write."""
        rotated = (self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self.keep + 1))
        return (self.path, *rotated)


def build(settings: Settings, name: str, context: Context) -> "FileSink":
    """See settings.registry."""
    return FileSink(settings)


class FileSink:
    """One file. See sink.Sink."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = LineFile(settings.path, max_bytes=settings.max_bytes, keep=settings.keep, durable=settings.fsync)
        self._lock = asyncio.Lock()

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        async with self._lock:
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as error:
                raise Unavailable(f"cannot write {self._settings.path}: {error.strerror or error}") from error
        return Outcome()

    async def close(self) -> None:
        """See sink.Sink."""

    def _write(self, batch: Batch) -> None:
        self._file.append(b"".join(map(render, batch.records())))


def render(record: LogRecord | SpanRecord | Sample) -> bytes:
    """A line: `signal` and the record's fields; labels as a map, not-a-number and infinities as text."""
    fields: dict[str, Any]
    match record:
        case LogRecord():
            fields = {"signal": "logs", **record._asdict()}
        case SpanRecord():
            fields = {"signal": "traces", **record._asdict()}
        case Sample():
            fields = {"signal": "metrics", **record._asdict(), "labels": dict(record.labels)}
            fields["value"] = _number(record.value)
            if (histogram := record.histogram) is not None:
                fields["histogram"] = {
                    "bounds": [_number(bound) for bound in histogram.bounds],
                    "counts": histogram.counts,
                    "sum": _number(histogram.sum),
                }
            fields["exemplars"] = [
                {"labels": dict(one.labels), "value": _number(one.value), "time": one.time} for one in record.exemplars
            ]
    return json.dumps(fields, default=str).encode("ascii") + b"\n"


def _number(value: float | None) -> float | str | None:
    return value if value is None or value - value == 0.0 else str(value)
