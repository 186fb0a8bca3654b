"""Files of lines that only grow, and what a process that was killed leaves at their end. Blocking."""

import os

_PIECE_BYTES = 65_536


def end_of_last_line(fd: int, size: int) -> int:
    """Cut off half a line that a killed process left; returns the size then. Raises OSError."""
    end = size
    while end:
        begin = max(0, end - _PIECE_BYTES)
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            end = begin + at + 1
            break
        end = begin
    if end != size:
        os.ftruncate(fd, end)
    return end
