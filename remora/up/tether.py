"""Execute a command that must not outlive us: `python -I -S tether.py OUR-PID COMMAND...`.

It asks the kernel to end it when its parent dies, then becomes the command. (A preexec function would run Python
between fork and exec of a process with threads.)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""Exit statuses of a shell."""


def main(argv: list[str]) -> int:
    """Become the command. Returns only when that fails."""
    parent, command = int(argv[0]), argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1  # it died before the kernel was asked
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"remora run: cannot execute {command[0]}: {error.strerror}\n")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
