"""One connection of the forward protocol: handshake, back-pressure, acknowledgements. The parser knows the messages.

A connection reads on while it has little on its way to the store, and acknowledges a message after it is committed.
Whatever goes wrong on a connection ends that connection alone, for a reason that is counted and logged.
"""

import asyncio
import logging
import os
import ssl
from typing import TYPE_CHECKING, cast

from collectors.pipeline import Refused
from collectors.receivers.forward_parser import Delivery, ForwardParser, ProtocolError, render_ack
from collectors.receivers.handshake import SALT_BYTES, Handshake, HandshakeFailed
from mesh.spiffe import SpiffeId

if TYPE_CHECKING:
    from collectors.receivers.forward import Door, ForwardReceiver

_log = logging.getLogger("remora.forward")


class Connection(asyncio.Protocol):
    """Made when TCP accepts; `connection_made` follows after TLS."""

    def __init__(self, receiver: "ForwardReceiver", door: "Door") -> None:
        self._receiver = receiver
        self._door = door
        self._handshake: Handshake | None = None
        self._sender = "?"
        self._parser = ForwardParser(receiver.limits.parser)
        self._peer: SpiffeId | None = None
        self._transport: asyncio.Transport | None = None
        self._queue: list[Delivery] = []
        self._in_flight = 0
        self.pending_bytes = 0
        """Of a message that is not complete."""
        self._paused = False
        self._writable = True
        self._finishing = False
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        """For the end of the message, or of the handshake, that is under way."""
        self._name = "?"
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()
        """All that came is stored or refused."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """The socket is closed."""
        if door.tls is not None:
            # asyncio tells nobody that TLS failed: it is known by what does not follow.
            self._timer = loop.call_later(1.1 * receiver.limits.handshake_timeout_s, receiver.tls_failed)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._cancel_timer()
        self._transport = cast(asyncio.Transport, transport)
        self._name = self._sender = _address(transport.get_extra_info("peername"))
        self._sender = self._sender.rpartition(":")[0] or self._sender
        if len(self._receiver.connections) >= self._receiver.limits.max_connections:
            _log.warning("closing %s: there are %d connections", self._name, len(self._receiver.connections))
            self.abort("too many connections")
            return
        if not self._admit(transport.get_extra_info("ssl_object")):
            return
        self._receiver.start(self)
        self._begin_handshake()
        self.regulate()

    def _admit(self, connection: ssl.SSLObject) -> bool:
        try:
            if self._door.authenticate is not None:
                self._peer = self._door.authenticate(connection)
                self._sender = str(self._peer)
                self._name = f"{self._name} ({self._peer})"
            if self._door.check is not None:
                self._door.check(connection)
        except Exception as error:
            # Whatever it is: who cannot be authenticated is not served.
            _log.warning("refused %s: %s", self._name, error)
            self.abort("unauthenticated")
            return False
        return True

    def _begin_handshake(self) -> None:
        if self._door.security is None or self._transport is None:
            return
        try:
            security = self._door.security()
        except (OSError, ValueError) as error:
            _log.error("refused %s: the key or the users cannot be read: %s", self._name, error)
            self.abort("no key")
            return
        self._handshake = Handshake(security, os.urandom(SALT_BYTES), os.urandom(SALT_BYTES))
        self._transport.write(self._handshake.helo())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._receiver.limits.handshake_timeout_s, self._too_slow, "slow handshake")

    def data_received(self, data: bytes) -> None:
        if self._finishing:
            return
        if self._handshake is not None:
            data = self._shake_hands(self._handshake, data)
            if not data:
                return
        try:
            deliveries = self._parser.feed(data)
        except ProtocolError as error:
            _log.warning("closing %s: %s", self._name, error)
            self.abort("protocol error")
            return
        self._note_pending(self._parser.pending_bytes)
        if deliveries:
            self._cancel_timer()
            self._queue += deliveries
            size = sum(delivery.size_bytes for delivery in deliveries)
            self._in_flight += size
            self._wake.set()
            self._receiver.received(size)
            self.regulate()
        self._watch_message()

    def _shake_hands(self, handshake: Handshake, data: bytes) -> bytes:
        """What of `data` comes after the handshake."""
        assert self._transport is not None
        try:
            welcome = handshake.feed(data)
        except HandshakeFailed as error:
            _log.warning("refused %s: %s", self._name, error)
            self._receiver.telemetry.closed.labels("forward", str(error)).inc()
            self._transport.write(error.answer)
            self.finish()
            self._transport.close()  # after the answer
            return b""
        if welcome is None:
            return b""
        self._handshake = None
        self._cancel_timer()
        self._transport.write(welcome.answer)
        if welcome.user is not None:
            self._name = f"{self._name} (user {welcome.user[:64]!r})"
            self._sender = f"user {welcome.user}"
        return welcome.rest

    def eof_received(self) -> bool:
        if self.pending_bytes:
            _log.warning("%s ended within a message", self._name)
        self.finish()
        # A plaintext peer may still read its acknowledgements; TLS knows no half-closed connections.
        return self._door.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._cancel_timer()
        self.finish()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        # It does not read its acknowledgements: nothing more is read from it.
        self._writable = False
        self.regulate()

    def resume_writing(self) -> None:
        self._writable = True
        self.regulate()

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
            self._finishing = True
            left, self._queue = self._queue, []
            self._release(left)
            self._receiver.connections.discard(self)
            if not self.done.done():
                self.done.set_result(None)
            if self._transport is not None:
                self._transport.close()

    async def _store(self, deliveries: list[Delivery]) -> None:
        try:
            await self._hand_on(deliveries)
        except Refused as error:
            if error.retry or len(deliveries) == 1:
                self._refused(deliveries, error)
            else:
                # One of them cannot be stored: each alone, so that only that one is refused.
                for delivery in deliveries:
                    try:
                        await self._hand_on([delivery])
                    except Refused as own:
                        self._refused([delivery], own)
        finally:
            self._release(deliveries)
            self.regulate()

    def _release(self, deliveries: list[Delivery]) -> None:
        size = sum(delivery.size_bytes for delivery in deliveries)
        self._in_flight -= size
        self._receiver.stored(size)

    async def _hand_on(self, deliveries: list[Delivery]) -> None:
        try:
            await self._consume(deliveries)
        except Refused:
            raise
        except Exception as error:
            # A mistake of ours: it ends this connection, is told like a refusal, and the others go on.
            _log.exception("storing what %s sent failed", self._name)
            raise Refused(f"{type(error).__name__}: {error}", retry=True) from error

    async def _consume(self, deliveries: list[Delivery]) -> None:
        receiver = self._receiver
        judge = receiver.claims.judge(self._peer) if self._peer is not None else None
        batch, refused, why = receiver.events.batch(deliveries, judge, receiver.clock.now())
        if refused and self._peer is not None:
            # Acknowledged like the others: sent again, they would be no truer.
            receiver.claims.refused("forward", "logs", self._peer, refused, why)
        batch.sender = self._sender
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
        self._parser.drop()
        self._note_pending(0)
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

    def regulate(self) -> None:
        """Read, or do not, as there is room here and in the whole."""
        transport, receiver = self._transport, self._receiver
        if transport is None or transport.is_closing() or self._finishing:
            return
        limit = receiver.share_bytes()
        if not self._paused and (self._in_flight >= limit or not self._writable or receiver.full):
            self._paused = True
            self._cancel_timer()  # it is us who make it wait
            transport.pause_reading()
        elif self._paused and self._in_flight < limit // 2 and self._writable and not receiver.full:
            self._paused = False
            transport.resume_reading()
            self._watch_message()

    def _watch_message(self) -> None:
        """Messages must come to their end in time; a connection without one may be idle for ever."""
        if self.pending_bytes and self._timer is None and not self._paused and not self._finishing:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._receiver.limits.message_timeout_s, self._too_slow, "slow message")

    def _note_pending(self, size: int) -> None:
        more, self.pending_bytes = size - self.pending_bytes, size
        self._receiver.pending(more)

    def too_much(self) -> None:
        """Incomplete messages of all connections take more than they may, and this one has most of it."""
        _log.warning(
            "closing %s: it has %d of more than %d bytes of incomplete messages of all connections",
            self._name, self.pending_bytes, self._receiver.limits.max_pending_bytes,
        )  # fmt: skip
        self.abort("too much incomplete")

    def _too_slow(self, reason: str) -> None:
        _log.warning("closing %s: %s", self._name, reason)
        self.abort(reason)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _address(peername: object) -> str:
    if isinstance(peername, tuple) and len(peername) >= 2:
        return f"{peername[0]}:{peername[1]}"
    return str(peername)
