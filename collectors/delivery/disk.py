"""What a log asks of its disk: the calls that fail, or do half of it, where the disk does, and its patience."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """The kernel's own, each raising OSError."""

    open: Callable[[Path, int], int] = os.open
    """Of a segment that is read."""
    writev: Callable[[int, Sequence[bytes | memoryview]], int] = os.writev
    """Returns how many bytes were written."""
    fdatasync: Callable[[int], None] = os.fdatasync
    retry_s: float = 1.0
    """What could not be done is tried again after so long."""


KERNEL = Disk()
