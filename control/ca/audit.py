"""The record of every certificate, one JSON object a line, on disk before the certificate leaves.

Records that arrive while one write is under way are written together by the next: one sync serves them all.
"""

import asyncio
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from control.ca.errors import AuditUnavailable
from mesh.line_file import LineFile

MAX_FILE_BYTES = 16 * 1024 * 1024
"""About 40,000 records; then the file is put aside as `audit.jsonl.1` and so on."""

KEEP_FILES = 10
"""Older files are removed: at 2,000 certificates a day that is half a year."""

_Batch = list[tuple[bytes, "asyncio.Future[None]"]]


class AuditStream:
    """Records as JSON objects on standard output, for a process that has no disk of its own: in a cluster the node
    keeps containers' output, and a collector takes it from there. A line is one write: no other stands within it."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd

    async def append(self, record: dict[str, Any]) -> None:
        """Return once the node has `record`. Raises AuditUnavailable."""
        line = json.dumps({"audit": "certificate", **record}, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        try:
            written = await asyncio.to_thread(os.write, self._fd, line)
        except OSError as error:
            raise AuditUnavailable(f"standard output: {error.strerror or error}") from error
        if written != len(line):
            raise AuditUnavailable(f"standard output took {written} of {len(line)} bytes")


class AuditLog:
    """Appends to `path`. Writing happens in the loop's executor; a caller that leaves takes nobody's record along."""

    def __init__(self, path: Path, *, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self._file = LineFile(path, max_bytes=max_file_bytes, keep=KEEP_FILES)
        self._waiting: _Batch = []
        self._writing = False

    async def append(self, record: dict[str, Any]) -> None:
        """Return once `record` is on disk. Raises AuditUnavailable; then nothing of it is."""
        line = json.dumps(record, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        if not self._writing:
            self._write_waiting()
        await done

    def _write_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        self._writing = True
        data = b"".join(line for line, _ in batch)
        written = asyncio.get_running_loop().run_in_executor(None, self._file.append, data)
        written.add_done_callback(partial(self._written, batch))

    def _written(self, batch: _Batch, written: "asyncio.Future[Path | None]") -> None:
        error = None if written.cancelled() else written.exception()
        for _, done in batch:
            if done.done():
                continue
            if written.cancelled():
                done.cancel()
            elif error is not None:
                reason = error.strerror if isinstance(error, OSError) else None
                failure = AuditUnavailable(f"{self._file.path}: {reason or error}")
                failure.__cause__ = error
                done.set_exception(failure)
            else:
                done.set_result(None)
        self._writing = False
        if self._waiting:
            self._write_waiting()
