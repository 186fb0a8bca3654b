"""Listening sockets of the flags."""

import socket

from collectors.options import Address


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises OSError that names the address."""
    host, port = address
    family, _, _, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Restarted at once on the same ports, with old connections still in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {join(host, port)}: {error.strerror}") from error
    return sock


def shown(sock: socket.socket) -> str:
    """Where it listens."""
    host, port = sock.getsockname()[:2]
    return join(host, port)


def join(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
