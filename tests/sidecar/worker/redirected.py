"""A network namespace in which every connection is redirected to one listening socket, as in a pod.

A thread of its own lives in it; sockets made there stay there, whoever uses them: the worker under test accepts what
was redirected, and dials in the test's own namespace.
"""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from sidecar.config.endpoint import Address

CLONE_NEWNET = 0x40000000
T = TypeVar("T")

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("iptables") is None or shutil.which("ip") is None,
    reason="needs root and apt-get install iptables iproute2",
)

EXEMPT_UID = 1337
"""A process of this user in the namespace is not redirected."""

SET_UP = (
    "ip link set lo up",
    "ip address add 10.96.0.1/8 dev lo",
    "ip address add fd00::1/64 dev lo nodad",
    "iptables -t nat -A OUTPUT -p tcp -m owner ! --uid-owner {exempt} -j REDIRECT --to-ports {port}",
    "ip6tables -t nat -A OUTPUT -p tcp -m owner ! --uid-owner {exempt} -j REDIRECT --to-ports {port6}",
)


class Redirected:
    """`listening` and `listening6` are sockets to which connections in the namespace are redirected."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._inside(_leave)
        self.listening = self._inside(lambda: _listen(socket.AF_INET, "0.0.0.0"))
        self.listening6 = self._inside(lambda: _listen(socket.AF_INET6, "::"))
        ports = {"port": self.port, "port6": self.listening6.getsockname()[1], "exempt": EXEMPT_UID}
        for line in SET_UP:
            self.run(*line.format(**ports).split()).check_returncode()

    def run(self, *argv: str) -> "subprocess.CompletedProcess[bytes]":
        """Run a command inside, to its end."""
        return self._inside(lambda: subprocess.run(argv, check=False, capture_output=True))

    def launch(self, argv: list[str], log: Path) -> "subprocess.Popen[bytes]":
        """A process inside that goes on, of the user who is not redirected."""
        user = ["setpriv", f"--reuid={EXEMPT_UID}", "--clear-groups", *argv]
        with open(log, "wb") as output:
            return self._inside(lambda: subprocess.Popen(user, stdout=output, stderr=output))

    def listen(self, host: str, port: int = 0) -> socket.socket:
        """A server's socket inside."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self._inside(lambda: _listen(family, host, port))

    def _inside(self, what: Callable[[], T]) -> T:
        return self._thread.submit(what).result(10)

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def connect(self, to: Address) -> socket.socket:
        """A client's connection to `to`, which is redirected."""
        return self._inside(lambda: socket.create_connection((to.host, to.port), timeout=5))

    def close(self) -> None:
        """The namespace goes with its last socket."""
        self.listening.close()
        self.listening6.close()
        self._thread.shutdown()


def _leave() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _listen(family: socket.AddressFamily, host: str, port: int = 0) -> socket.socket:
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    sock.listen(128)
    return sock
