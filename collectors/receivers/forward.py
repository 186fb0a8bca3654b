"""The forward protocol's sockets: who may come in by which door, and an end in order. Connections are in
forward_connection, the protocol itself in forward_parser and handshake.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.pipeline import Consumer
from collectors.receivers.claims import Claims
from collectors.receivers.events import Events
from collectors.receivers.forward_connection import Connection
from collectors.receivers.forward_parser import ParserLimits
from collectors.receivers.handshake import Security
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.forward")

Authenticate = Callable[[ssl.SSLObject], SpiffeId]
"""Who the peer of a finished TLS handshake is; raises PeerRefused (an Exception) to end the connection."""

_LOG_EVERY_S = 1.0
_GOODBYE_S = 0.5
_LEAST_SHARE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Door:
    """What a connection must pass. Nothing of it: plaintext of nobody in particular."""

    tls: ssl.SSLContext | None = None
    authenticate: Authenticate | None = None
    """Whom of the mesh a certificate names: its records are then judged (claims) and stamped."""
    check: Callable[[ssl.SSLObject], object] | None = None
    """Of a certificate that is not the mesh's; raises to end the connection."""
    security: Callable[[], Security] | None = None
    """What the handshake demands, asked anew for each; raises OSError or ValueError where it cannot be read. None: no
    handshake."""


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Of the receiver and each of its connections."""

    max_connections: int = 1_024
    max_in_flight_bytes: int = 4 * 1024 * 1024
    """Of one connection: received and not stored. Reading goes on below half of it."""
    max_total_bytes: int = 2 * 1024 * 1024
    """Of all connections together: where there are many, each has a share of this, and none reads while it is used up.
    So little since it takes four times as much decoded, and what stays in the processor's caches costs less."""
    max_pending_bytes: int = 64 * 1024 * 1024
    """Of messages that are not complete, of all connections together; beyond it who has most of them is closed."""
    message_timeout_s: float = 60.0
    """From a message's first byte to its last."""
    handshake_timeout_s: float = 10.0
    parser: ParserLimits = field(default_factory=ParserLimits)


class ForwardReceiver:
    """Accepts forward-protocol connections on given sockets."""

    def __init__(
        self,
        consumer: Consumer,
        telemetry: Telemetry,
        clock: Clock,
        claims: Claims,
        limits: ForwardLimits | None = None,
    ) -> None:
        self.consumer = consumer
        self.telemetry = telemetry
        self.clock = clock
        self.claims = claims
        self.limits = limits or ForwardLimits()
        self.events = Events()
        self.connections: set[Connection] = set()
        self.full = False
        """Whether nobody may read at present."""
        self._in_flight = 0
        self._pending = 0
        self._tls_failures = 0
        self._tls_logged = float("-inf")
        self._servers: list[asyncio.Server] = []
        self._scope = TaskScope()

    async def listen(
        self, sock: socket.socket, tls: ssl.SSLContext | None, authenticate: Authenticate | None = None
    ) -> None:
        """Serve on a bound socket: mutual TLS, where `authenticate` decides who may speak, or plaintext."""
        await self.open(sock, Door(tls, authenticate))

    async def open(self, sock: socket.socket, door: Door) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()
        timeout = self.limits.handshake_timeout_s if door.tls is not None else None
        server = await loop.create_server(
            lambda: Connection(self, door), sock=sock, ssl=door.tls, backlog=512, ssl_handshake_timeout=timeout
        )
        self._servers.append(server)

    def tls_failed(self) -> None:
        """A connection did not come through TLS: no certificate of ours to trust, no TLS, or nothing at all."""
        self.telemetry.closed.labels("forward", "TLS handshake").inc()
        self._tls_failures += 1
        now = self.clock.monotonic()
        if now - self._tls_logged >= _LOG_EVERY_S:
            _log.warning("%d connections did not come through their TLS handshake", self._tls_failures)
            self._tls_logged, self._tls_failures = now, 0

    def share_bytes(self) -> int:
        """What one of the present connections may have received and not stored."""
        limits = self.limits
        share = limits.max_total_bytes // max(1, len(self.connections))
        return min(limits.max_in_flight_bytes, max(_LEAST_SHARE_BYTES, share))

    def received(self, size: int) -> None:
        """A connection has so many more bytes that are not stored."""
        self._in_flight += size
        if not self.full and self._in_flight >= self.limits.max_total_bytes:
            self._let_read(False)

    def stored(self, size: int) -> None:
        """These have left it."""
        self._in_flight -= size
        if self.full and self._in_flight < self.limits.max_total_bytes // 2:
            self._let_read(True)

    def pending(self, more: int) -> None:
        """A connection has so many more bytes (less, if negative) of a message that is not complete."""
        self._pending += more
        while self._pending > self.limits.max_pending_bytes and self.connections:
            largest = max(self.connections, key=lambda one: one.pending_bytes)
            if not largest.pending_bytes:
                return
            largest.too_much()

    def _let_read(self, allowed: bool) -> None:
        self.full = not allowed
        for connection in list(self.connections):
            connection.regulate()

    def start(self, connection: Connection) -> None:
        """Run a connection's storing side."""
        self.connections.add(connection)
        self.telemetry.connections.labels("forward").inc()
        self._scope.spawn(connection.store(), name="forward connection")

    async def close(self, timeout_s: float) -> None:
        """Accept no more, store and acknowledge what was received whole, then end every connection."""
        for server in self._servers:
            server.close()
        ending = list(self.connections)
        for connection in ending:
            connection.finish()
        if ending:
            await asyncio.wait({one.done for one in ending}, timeout=timeout_s)
            # Acknowledgements are on their way out; TLS has its own goodbyes, for which not everybody stays.
            await asyncio.wait({one.lost for one in ending}, timeout=_GOODBYE_S)
        for connection in ending:
            if not connection.lost.done():
                connection.abort("shutdown")
        await self._scope.close()
        if ending:
            await asyncio.wait({one.lost for one in ending}, timeout=_GOODBYE_S)
