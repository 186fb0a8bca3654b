"""Find out what a connection is by its first bytes, which stay in the kernel for whoever takes the connection.

As little is looked at as the listener's filter chains need: one byte tells TLS from plaintext; a server's name takes
the whole ClientHello, the question whether plaintext is HTTP its first line.
"""

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Final

from mesh.clock import Clock
from sidecar.listeners.client_hello import MAX_HELLO_BYTES, NotClientHello, parse
from sidecar.listeners.context import OpenConnections
from sidecar.listeners.match import PLAINTEXT, TLS, Facts, Wanted
from sidecar.net.timers import NEVER, TimerWheel

MAX_LINE_BYTES: Final = 8 * 1024
"""A first line that is longer is taken for none of HTTP's."""

_HANDSHAKE: Final = b"\x16"  # RFC 8446 5.1: a TLS record with a ClientHello; no HTTP method begins with it
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 3.4
_MAX_METHOD: Final = 32
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |\Z)")
_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [^ \r\n]+ HTTP/1\.([01])\r?\n")

Then = Callable[[socket.socket, Facts | None], None]
"""Gets the connection and what it is; None: it has not said so in time."""


class Sniffer:
    """Connections that have not said yet what they are."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, timers: TimerWheel, connections: OpenConnections
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._clock = clock
        self._timers = timers
        self._pending: set[_Pending] = set()

    def sniff(self, connection: socket.socket, wanted: Wanted, timeout_s: float, then: Then) -> None:
        """Call `then` once what is `wanted` is known, or after `timeout_s`. A connection that ends before, or begins a
        ClientHello that is none, is closed."""
        found = look(connection, wanted)
        if isinstance(found, Facts):
            then(connection, found)
        elif found is None:
            connection.close()
        else:
            _wait_for(connection, found)
            now = self._clock.monotonic()
            pending = _Pending(self, connection, wanted, then, found, now + timeout_s)
            self._pending.add(pending)
            self._connections.opened()
            self._loop.add_reader(connection.fileno(), pending.readable)
            self._timers.watch(pending, now)

    @property
    def waiting(self) -> int:
        """Connections that have not said yet what they are."""
        return len(self._pending)

    def end(self, pending: "_Pending") -> None:
        """`pending` waits no more."""
        self._pending.discard(pending)
        self._connections.closed()
        self._loop.remove_reader(pending.connection.fileno())

    def close(self) -> None:
        """Close every connection that has not said what it is."""
        for pending in list(self._pending):
            self.end(pending)
            pending.connection.close()


class _Pending:
    __slots__ = ("_needed", "_sniffer", "_then", "_wanted", "connection", "deadline", "look_at")

    def __init__(
        self,
        sniffer: Sniffer,
        connection: socket.socket,
        wanted: Wanted,
        then: Then,
        needed: int,
        deadline: float,
    ) -> None:
        self._sniffer = sniffer
        self.connection = connection
        self._wanted = wanted
        self._then = then
        self._needed = needed
        self.deadline = deadline
        self.look_at = NEVER

    def readable(self) -> None:
        found = look(self.connection, self._wanted)
        if isinstance(found, int):
            if found > self._needed:
                self._needed = found
                _wait_for(self.connection, found)
                return
            # The kernel woke us although there is no more: that was all. Plaintext may be as short as it likes.
            found = None if _peek(self.connection, 1) == _HANDSHAKE else PLAINTEXT
        self.deadline = NEVER
        self._sniffer.end(self)
        if found is None:
            self.connection.close()
        else:
            _wait_for(self.connection, 1)
            self._then(self.connection, found)

    def expired(self, now: float) -> None:
        self._sniffer.end(self)
        _wait_for(self.connection, 1)
        self._then(self.connection, None)


def look(connection: socket.socket, wanted: Wanted) -> Facts | int | None:
    """What the connection is; how many bytes it takes to know, at least; None where it will never be known."""
    first = _peek(connection, 1)
    if first is None:
        return 1
    if not first:
        return None
    if first == _HANDSHAKE:
        return _look_at_hello(connection) if wanted.hello else TLS
    return _look_at_line(connection) if wanted.http else PLAINTEXT


def _look_at_hello(connection: socket.socket) -> Facts | int | None:
    try:
        hello = parse(_peek(connection, MAX_HELLO_BYTES) or b"")
    except NotClientHello:
        return None
    return hello if isinstance(hello, int) else Facts(True, hello.server_name, hello.protocols)


def _look_at_line(connection: socket.socket) -> Facts | int:
    found = http_version(_peek(connection, MAX_LINE_BYTES) or b"")
    if isinstance(found, int):
        return found
    return PLAINTEXT if found is None else Facts(False, None, (found,))


def http_version(data: bytes) -> str | int | None:
    """Which HTTP a connection's first bytes are, by Envoy's names; None: none; an integer: how many bytes it takes to
    know, at least. Tells as early as it can, so that other protocols lose no time."""
    if data.startswith(_PREFACE):
        return "h2c"
    if _PREFACE.startswith(data):
        return len(data) + 1
    line = _LINE.match(data)
    if line is not None:
        return "http/1.1" if line[1] == b"1" else "http/1.0"
    if b"\n" in data or len(data) >= MAX_LINE_BYTES:
        return None
    method = _METHOD.match(data)
    if method is None or (method.end() > _MAX_METHOD and not method[0].endswith(b" ")):
        return None
    return len(data) + 1


def _wait_for(connection: socket.socket, count: int) -> None:
    """Have the kernel call a connection readable when it holds `count` bytes, or has ended."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    except OSError:
        pass  # reset meanwhile: whoever reads next is told


def _peek(connection: socket.socket, count: int) -> bytes | None:
    """The first bytes, empty if the connection ended, None if nothing has come."""
    try:
        return connection.recv(count, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
