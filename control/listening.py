"""Binding the control plane's ports, or a line that says which could not be, and by which flag it is another."""

import socket


class CannotStart(Exception):
    """One line for the operator."""


def bound(host: str, port: int, flag: str) -> socket.socket:
    """Raises CannotStart."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise CannotStart(f"cannot listen on {spell_address(host, port)} ({flag}): {error.strerror}") from error
    return sock


def spell_address(host: str, port: int) -> str:
    """`127.0.0.1:15012`, `[::1]:15012`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
