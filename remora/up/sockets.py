"""Loopback ports: sockets that the supervisor holds for its children, and numbers for those that bind themselves."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from mesh.files import write_atomic
from remora.failure import Failure

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
"""Connections that wait in the kernel while a child is being replaced."""

_FIRST, _LAST = 20_100, 31_900
"""Ports for children to bind: below Linux's usual range for outgoing connections, which could take one by chance."""


def listening(port: int = 0) -> socket.socket:
    """A listening socket on loopback; 0 takes any port. Raises OSError.

    It listens from the start, so that the port is ours, and a connection waits for the child instead of being refused.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def address(sock: socket.socket) -> str:
    """`host:port` of a bound socket."""
    host, port = sock.getsockname()
    return f"{host}:{port}"


def is_free(port: int) -> bool:
    """True if a server could bind `port` on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
            sock.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, rng: random.Random) -> list[int]:
    """Different ports that nobody uses, for children that bind them soon and bind them again after a restart."""
    low, high = _FIRST, min(_LAST, _first_outgoing() - 1)
    if high - low < 1000:
        low, high = 10_000, 65_000
    found: list[int] = []
    for port in rng.sample(range(low, high), min(high - low, 50 * count)):
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise Failure(f"no {count} free ports between {low} and {high} on {LOOPBACK}")


def choose_ports(memory: Path, names: Sequence[str], rng: random.Random) -> dict[str, int]:
    """A port for each name: the one that `memory` (a JSON file) has if it is free, else another, remembered."""
    try:
        remembered = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        remembered = {}
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name) if isinstance(remembered, dict) else None
        if isinstance(port, int) and 0 < port < 65536 and port not in chosen.values() and is_free(port):
            chosen[name] = port
    missing = [name for name in names if name not in chosen]
    fresh = [port for port in free_ports(2 * len(names), rng) if port not in chosen.values()]
    chosen.update(zip(missing, fresh, strict=False))
    write_atomic(memory, json.dumps(chosen).encode(), mode=0o600)
    return chosen


def _first_outgoing() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
