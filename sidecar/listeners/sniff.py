"""Tell TLS from plaintext by a connection's first byte, left in the kernel for whoever takes the connection."""

import asyncio
import socket
from collections.abc import Callable

from mesh.clock import Clock
from sidecar.net.timers import NEVER, TimerWheel

SNIFF_TIMEOUT_S = 15.0
"""A connection that says nothing this long is closed (Envoy `listener_filters_timeout`)."""

_HANDSHAKE = b"\x16"  # RFC 8446 5.1: a TLS record with a ClientHello; no HTTP method begins with it


class Sniffer:
    """Connections whose first byte has not come yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, timers: TimerWheel) -> None:
        self._loop = loop
        self._clock = clock
        self._timers = timers
        self._pending: set[_Pending] = set()

    def sniff(self, connection: socket.socket, then: Callable[[socket.socket, bool], None]) -> None:
        """Call `then(connection, is_tls)` once that is known; close `connection` if it never is."""
        first = _peek(connection)
        if first is None:
            now = self._clock.monotonic()
            pending = _Pending(self, connection, then, now + SNIFF_TIMEOUT_S)
            self._pending.add(pending)
            self._loop.add_reader(connection.fileno(), pending.readable)
            self._timers.watch(pending, now)
        elif first:
            then(connection, first == _HANDSHAKE)
        else:
            connection.close()

    def end(self, pending: "_Pending") -> None:
        """`pending` waits no more."""
        self._pending.discard(pending)
        self._loop.remove_reader(pending.connection.fileno())

    def close(self) -> None:
        """Close every connection that has said nothing."""
        for pending in list(self._pending):
            self.end(pending)
            pending.connection.close()


class _Pending:
    __slots__ = ("_sniffer", "_then", "connection", "deadline", "look_at")

    def __init__(
        self,
        sniffer: Sniffer,
        connection: socket.socket,
        then: Callable[[socket.socket, bool], None],
        deadline: float,
    ) -> None:
        self._sniffer = sniffer
        self.connection = connection
        self._then = then
        self.deadline = deadline
        self.look_at = NEVER

    def readable(self) -> None:
        first = _peek(self.connection)
        if first is None:
            return
        self.deadline = NEVER
        self._sniffer.end(self)
        if first:
            self._then(self.connection, first == _HANDSHAKE)
        else:
            self.connection.close()

    def expired(self, now: float) -> None:
        self._sniffer.end(self)
        self.connection.close()


def _peek(connection: socket.socket) -> bytes | None:
    """The first byte, empty if the connection ended, None if nothing has come."""
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
