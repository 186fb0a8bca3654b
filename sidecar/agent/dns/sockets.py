"""The sockets at which DNS is asked: opened with the agent's others, so that a port in use is one clear line."""

import errno
import socket

from sidecar.agent.sockets import CannotListen
from sidecar.config.endpoint import Address

HOSTS = ("127.0.0.1", "::1")
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


ATTEMPTS = 8
"""At any port: what the kernel chose for one of them may be taken for another."""


def open_sockets(port: int) -> list[socket.socket]:
    """TCP, which listens, and UDP at each loopback address; any one port for all where it is 0. Raises CannotListen;
    then nothing stays open."""
    for _ in range(0 if port else ATTEMPTS - 1):
        try:
            return _open_all(port)
        except CannotListen:
            continue
    return _open_all(port)


def _open_all(port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    for host in HOSTS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                sock = _open(family, kind, host, port)
            except OSError as error:
                if family == socket.AF_INET6 and error.errno in _NO_IPV6:
                    return opened  # there is none here, so that nobody can ask by it
                for each in opened:
                    each.close()
                raise CannotListen(Address(host, port), error.strerror or str(error)) from error
            opened.append(sock)
            port = sock.getsockname()[1]
    return opened


def _open(family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock
