"""A process that has the imports of the mesh's programs behind it, and forks itself into one of them when told to.

`python -P -m remora.up.fork_server FD MODULE...` imports the MODULEs, then reads requests from the socket FD: for a
fork, or for the exit status of one. It has a single thread and no event loop, opens nothing and keeps nothing of what
it is sent: what it forks is as good as a process of its own. It ends with the other end of its socket.
"""

import fcntl
import gc
import importlib
import json
import os
import runpy
import socket
import sys
from collections.abc import Sequence
from typing import Any

MAX_REQUEST_BYTES = 1024 * 1024
MAX_DESCRIPTORS = 250
"""The kernel passes no more than 253 at once."""


def main(argv: Sequence[str]) -> None:
    """Serve; returns in the server at its end, and in each fork at that one's end."""
    # Nothing uses gRPC before a fork; what it does to survive one costs a thread. It reads this when imported.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    for module in argv[1:]:
        importlib.import_module(module)
    # What a collection touches is copied in every fork.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(argv[0])) as sock:
        request = _serve(sock)
    if request is not None:
        _become(request)


def _serve(sock: socket.socket) -> dict[str, Any] | None:
    """None at the server's end; in a fork what it is to become."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(sock, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        if not data:
            return None
        request = json.loads(data)
        if "reap" in request:
            answer: dict[str, Any] = {"status": os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])}
        else:
            try:
                pid = _fork()
            except OSError as error:
                answer = {"error": error.strerror}
            else:
                if not pid:
                    request["received"] = descriptors
                    return dict(request)
                answer = {"pid": pid}
            for each in descriptors:
                os.close(each)
        sock.send(json.dumps(answer).encode())


def _fork() -> int:
    """As os.fork; the fork leads a session of its own before its number is known to anyone."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
    os.close(write_end)
    if pid:
        os.read(read_end, 1)
    os.close(read_end)
    return pid


def _become(request: dict[str, Any]) -> None:
    """Run the module as `python -m` would, with its arguments, environment and descriptors."""
    _place(request["received"], [1, *request["descriptors"]])
    os.dup2(1, 2)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _place(received: Sequence[int], wanted: Sequence[int]) -> None:
    """Give descriptors the numbers that the arguments speak of, whatever numbers they came under."""
    above = max((*received, *wanted)) + 1
    for at, fd in enumerate([_moved(fd, above) for fd in received]):
        os.dup2(fd, wanted[at])
        os.close(fd)


def _moved(fd: int, above: int) -> int:
    new: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(fd)
    return new


if __name__ == "__main__":
    main(sys.argv[1:])
