"""The node agent's child: enters a pod's network namespace, puts remora-init's rules there, and ends.

A process of its own, so that the agent itself is never anywhere else. Run as `python -m remora.node.entered HANDLE
FLAGS...`, with the inherited handle of the namespace.
"""

import ctypes
import os
import sys
from collections.abc import Sequence

from remora.output import print_error

_CLONE_NEWNET = 0x40000000
"""sched(7). setns(2) takes it to be sure that the handle is of a network."""


def main(argv: Sequence[str]) -> int:
    """The exit status, as remora-init's."""
    try:
        _enter(int(argv[0]))
    except OSError as error:
        print_error(f"the pod's network cannot be entered: {error.strerror}; the node agent needs SYS_ADMIN")
        return 1
    from remora.cli import run

    return run(["init-iptables", *argv[1:]])


def _enter(handle: int) -> None:
    """Raises OSError. os.setns has come with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.close(handle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
