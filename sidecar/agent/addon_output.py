"""What addon scripts print and log, into the sidecar's log: line by line, and no flood of it."""

import asyncio
import logging

from mesh.clock import Clock

MAX_LINES = 200
"""In each window; what is beyond is counted."""

WINDOW_S = 10.0
MAX_LINE_CHARACTERS = 2000

_log = logging.getLogger("remora.addon")


async def pass_on(output: asyncio.StreamReader, script: str, clock: Clock) -> None:
    """Until its end."""
    window = clock.monotonic()
    count = 0
    while True:
        try:
            line = await output.readline()
        except ValueError:
            continue  # longer than the reader's limit: dropped
        if not line:
            return
        now = clock.monotonic()
        if now - window >= WINDOW_S:
            if count > MAX_LINES:
                _log.warning("%s: %d lines left out", script, count - MAX_LINES)
            window, count = now, 0
        count += 1
        if count <= MAX_LINES:
            text = line.decode("utf-8", "replace").rstrip()
            _log.info("%s: %s", script, text[:MAX_LINE_CHARACTERS])
