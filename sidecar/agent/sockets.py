"""Listening sockets: opened or inherited once, held for as long as the agent lives, so that no worker's end refuses a
connection."""

import socket
from collections.abc import Iterable

from sidecar.bootstrap import Inherited, Place
from sidecar.config.endpoint import Address

BACKLOG = 4096
"""Connections that wait while a worker is replaced; the kernel caps it at net.core.somaxconn."""


class CannotListen(Exception):
    """An address cannot be opened, or a descriptor is no socket to listen on. The text is one line for people."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(place, why)
        self.place = place
        self._why = why

    def __str__(self) -> str:
        name = f"descriptor {self.place.fd}" if isinstance(self.place, Inherited) else str(self.place)
        return f"cannot listen on {name}: {self._why}"


def open_socket(place: Place) -> socket.socket:
    """A listening, non-blocking TCP socket. Raises CannotListen."""
    if isinstance(place, Inherited):
        return _adopt(place)
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(place, error.strerror or str(error)) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(place, error.strerror or str(error)) from error
    sock.setblocking(False)
    return sock


def _adopt(place: Inherited) -> socket.socket:
    try:
        sock = socket.socket(fileno=place.fd)
    except OSError as error:
        raise CannotListen(place, error.strerror or str(error)) from error
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise CannotListen(place, "it is no TCP socket")
    if sock.getsockname()[1] == 0:
        sock.detach()
        raise CannotListen(place, "it is not bound to a port")
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        sock.detach()
        raise CannotListen(place, error.strerror or str(error)) from error
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def address_of(sock: socket.socket) -> Address:
    """Where it listens."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


class Sockets:
    """The workers' listening sockets by address."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}
        self._pinned: set[Address] = set()

    def pin(self, place: Place) -> Address:
        """Open or adopt now and keep until `close`, whatever the configuration says. Raises CannotListen."""
        sock = open_socket(place)
        address = address_of(sock)
        self._sockets[address] = sock
        self._pinned.add(address)
        return address

    def ensure(self, addresses: Iterable[Address]) -> dict[Address, int]:
        """Open those that are not open yet; all or none. Returns the new ones' descriptors. Raises CannotListen."""
        opened: dict[Address, socket.socket] = {}
        try:
            for address in addresses:
                if address not in self._sockets and address not in opened:
                    opened[address] = open_socket(address)
        except CannotListen:
            for sock in opened.values():
                sock.close()
            raise
        self._sockets.update(opened)
        return {address: sock.fileno() for address, sock in opened.items()}

    def keep(self, addresses: Iterable[Address]) -> None:
        """Close those that are neither among `addresses` nor pinned."""
        for address in self._sockets.keys() - set(addresses) - self._pinned:
            self._sockets.pop(address).close()

    def descriptors(self) -> dict[Address, int]:
        """All that are open."""
        return {address: sock.fileno() for address, sock in self._sockets.items()}

    def close(self) -> None:
        """Close all: from now on connections are refused, unless someone else holds the sockets, too."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._pinned.clear()
