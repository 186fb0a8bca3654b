"""The forward protocol's sockets. The parser knows the protocol; here are connections, back-pressure, acknowledgements.

A connection reads on while it has little on its way to the store, and acknowledges a message after it is committed.
Whatever goes wrong on a connection ends that connection alone.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from collectors.pipeline import Consumer, Refused
from collectors.receivers.claims import Claims
from collectors.receivers.events import Events
from collectors.receivers.forward_parser import Delivery, ForwardParser, ParserLimits, ProtocolError, render_ack
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.forward")

Authenticate = Callable[[ssl.SSLObject], SpiffeId]
"""Who the peer of a finished handshake is; raises PeerRefused (an Exception) to end the connection."""


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Of the receiver and each of its connections."""

    max_connections: int = 1_024
    max_in_flight_bytes: int = 4 * 1024 * 1024
    """Of one connection: received and not stored. Reading goes on below half of it."""
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
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._scope = TaskScope()

    async def listen(
        self, sock: socket.socket, tls: ssl.SSLContext | None, authenticate: Authenticate | None = None
    ) -> None:
        """Serve on a bound socket: mutual TLS, where `authenticate` decides who may speak, or plaintext."""
        loop = asyncio.get_running_loop()
        timeout = self.limits.handshake_timeout_s if tls is not None else None
        server = await loop.create_server(
            lambda: _Connection(self, authenticate), sock=sock, ssl=tls, backlog=512, ssl_handshake_timeout=timeout
        )
        self._servers.append(server)

    def start(self, connection: "_Connection") -> None:
        """Run a connection's storing side."""
        self.connections.add(connection)
        self.telemetry.connections.labels("forward").inc()
        self._scope.spawn(connection.store(), name="forward connection")

    async def close(self, timeout_s: float) -> None:
        """Accept no more, store and acknowledge what was received whole, then end every connection."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.wait({one.done for one in self.connections}, timeout=max(0.01, timeout_s))
        for connection in list(self.connections):
            connection.abort("shutdown")
        await self._scope.close()


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: ForwardReceiver, authenticate: Authenticate | None) -> None:
        self._receiver = receiver
        self._authenticate = authenticate
        self._parser = ForwardParser(receiver.limits.parser)
        self._peer: SpiffeId | None = None
        self._transport: asyncio.Transport | None = None
        self._queue: list[Delivery] = []
        self._in_flight = 0
        self._paused = False
        self._writable = True
        self._finishing = False
        self._wake = asyncio.Event()
        self._message_timer: asyncio.TimerHandle | None = None
        self._name = "?"
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._name = _address(transport.get_extra_info("peername"))
        if len(self._receiver.connections) >= self._receiver.limits.max_connections:
            self.abort("too many connections")
            return
        if self._authenticate is not None:
            try:
                self._peer = self._authenticate(transport.get_extra_info("ssl_object"))
            except Exception as error:
                # Whatever it is: who cannot be authenticated is not served.
                _log.warning("refused %s: %s", self._name, error)
                self.abort("unauthenticated")
                return
            self._name = f"{self._name} ({self._peer})"
        self._receiver.start(self)

    def data_received(self, data: bytes) -> None:
        if self._finishing:
            return
        try:
            deliveries = self._parser.feed(data)
        except ProtocolError as error:
            _log.warning("closing %s: %s", self._name, error)
            self.abort("protocol error")
            return
        if deliveries:
            self._cancel_timer()
            self._queue += deliveries
            self._in_flight += sum(delivery.size_bytes for delivery in deliveries)
            self._wake.set()
            self._regulate()
        self._watch_message()

    def eof_received(self) -> bool:
        if self._parser.pending_bytes:
            _log.warning("%s ended within a message", self._name)
        self.finish()
        # A plaintext peer may still read its acknowledgements; TLS knows no half-closed connections.
        return self._authenticate is None

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._cancel_timer()
        self.finish()

    def pause_writing(self) -> None:
        # It does not read its acknowledgements: nothing more is read from it.
        self._writable = False
        self._regulate()

    def resume_writing(self) -> None:
        self._writable = True
        self._regulate()

    # The storing side.

    async def store(self) -> None:
        """Store what arrives until the connection is finished; all that waits goes as one batch."""
        try:
            while True:
                while self._queue:
                    deliveries, self._queue = self._queue, []
                    await self._store(deliveries)
                if self._finishing:
                    break
                self._wake.clear()
                await self._wake.wait()
        finally:
            self._receiver.connections.discard(self)
            if not self.done.done():
                self.done.set_result(None)
            if self._transport is not None:
                self._transport.close()

    async def _store(self, deliveries: list[Delivery]) -> None:
        try:
            await self._consume(deliveries)
        except Refused as error:
            if error.retry or len(deliveries) == 1:
                self._refused(deliveries, error)
            else:
                # One of them cannot be stored: each alone, so that only that one is refused.
                for delivery in deliveries:
                    try:
                        await self._consume([delivery])
                    except Refused as own:
                        self._refused([delivery], own)
        self._in_flight -= sum(delivery.size_bytes for delivery in deliveries)
        self._regulate()

    async def _consume(self, deliveries: list[Delivery]) -> None:
        receiver = self._receiver
        judge = receiver.claims.judge(self._peer) if self._peer is not None else None
        batch, refused, why = receiver.events.batch(deliveries, judge, receiver.clock.now())
        if refused and self._peer is not None:
            # Acknowledged like the others: sent again, they would be no truer.
            receiver.claims.refused("forward", "logs", self._peer, refused, why)
        await receiver.consumer.consume(batch)
        receiver.telemetry.received.labels("forward", "logs").inc(len(batch.logs))
        acks = b"".join(render_ack(delivery.chunk) for delivery in deliveries if delivery.chunk is not None)
        if acks and self._transport is not None and not self._transport.is_closing():
            self._transport.write(acks)

    def _refused(self, deliveries: list[Delivery], error: Refused) -> None:
        """No acknowledgement; the connection ends, so that the sender learns of it at once and not by a timeout."""
        count = sum(len(delivery.events) for delivery in deliveries)
        lost = sum(len(delivery.events) for delivery in deliveries if delivery.chunk is None)
        self._receiver.telemetry.refused.labels("forward", "logs").inc(count)
        if lost:
            self._receiver.telemetry.unacknowledged.labels("forward").inc(lost)
        _log.error(
            "%d records of %s were not stored (%d of them will not be sent again): %s", count, self._name, lost, error
        )
        self.abort("refused")

    # Control.

    def finish(self) -> None:
        """Read no more; end once everything received whole is stored."""
        self._finishing = True
        self._cancel_timer()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._wake.set()

    def abort(self, reason: str) -> None:
        """End now. What was received whole is still stored, but nobody is told."""
        self._receiver.telemetry.closed.labels("forward", reason).inc()
        if self._transport is not None:
            self._transport.abort()
        self.finish()

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._finishing:
            return
        limit = self._receiver.limits.max_in_flight_bytes
        if not self._paused and (self._in_flight >= limit or not self._writable):
            self._paused = True
            self._cancel_timer()  # it is us who make it wait
            transport.pause_reading()
        elif self._paused and self._in_flight < limit // 2 and self._writable:
            self._paused = False
            transport.resume_reading()
            self._watch_message()

    def _watch_message(self) -> None:
        """Messages must come to their end in time; a connection without one may be idle for ever."""
        if self._parser.pending_bytes and self._message_timer is None and not self._paused and not self._finishing:
            loop = asyncio.get_running_loop()
            self._message_timer = loop.call_later(self._receiver.limits.message_timeout_s, self._too_slow)

    def _too_slow(self) -> None:
        _log.warning("closing %s: a message took longer than %g s", self._name, self._receiver.limits.message_timeout_s)
        self.abort("slow message")

    def _cancel_timer(self) -> None:
        if self._message_timer is not None:
            self._message_timer.cancel()
            self._message_timer = None


def _address(peername: object) -> str:
    if isinstance(peername, tuple) and len(peername) >= 2:
        return f"{peername[0]}:{peername[1]}"
    return str(peername)
