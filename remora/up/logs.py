"""The children's logs: bounded."""

import os
import shutil
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Of one log; one older piece of it is kept besides."""


def bound(directory: Path, max_bytes: int = MAX_BYTES) -> None:
    """Begin anew the logs that are too long, keeping what they were as `NAME.log.1`."""
    for path in directory.glob("*.log"):
        if path.stat().st_size > max_bytes:
            # Its process goes on writing to the same file: it appends, so what it writes next is at the start.
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
