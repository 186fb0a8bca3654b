"""One relayed connection: bytes both ways as they come, with the ends of both directions and the speed of the slower.

The upstream is dialled as soon as the connection is there, so that a server that speaks first is heard. An end of one
direction (FIN, or TLS close_notify) is passed on when what came before it has left; the other direction goes on. A
reset of one side resets the other at once. What a client says while its upstream is dialled waits, within bounds.
"""

import asyncio
import logging
from typing import Any, Final

from sidecar.config.endpoint import Address
from sidecar.listeners.tcp import TcpChoice, TcpContext
from sidecar.listeners.tcp_upstream import NoUpstream, UpstreamSide, reach, reset
from sidecar.net.peer import PeerRefused, check_client
from sidecar.net.timers import MAX_LOOK_S, NEVER
from sidecar.net.tls import requested_server_name
from sidecar.telemetry.tcp import TcpRecord

EARLY_BYTES: Final = 64 * 1024
"""What a client may say before its upstream is there; then it is not read from."""

log = logging.getLogger(__name__)


class TcpConnection(asyncio.Protocol):
    """The client's connection, which owns the upstream's. States: dialling, relaying, closing."""

    __slots__ = (
        "_blocked",
        "_context",
        "_dialling",
        "_early",
        "_early_bytes",
        "_ended",
        "_idle_until",
        "_lost",
        "_seen",
        "_server_name",
        "_upstream",
        "deadline",
        "destination",
        "look_at",
        "record",
        "transport",
    )

    # Known once the connection is made.
    transport: asyncio.Transport
    record: TcpRecord

    @property
    def buffer_bytes(self) -> int:
        """More than this unsent, to either side, stops reading from the other."""
        return self._context.config.buffer_bytes

    def __init__(self, context: TcpContext, server_name: str | None = None, destination: Address | None = None) -> None:
        """`server_name`: of TLS that is passed through. `destination`: where a redirected client was going."""
        self._context = context
        self.destination = destination
        self._server_name = server_name
        self._upstream: UpstreamSide | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._ended = False
        """The client has said that nothing follows."""
        self._lost = False
        self._blocked = False
        """The client reads slower than the upstream writes."""
        self._seen = -1
        """Bytes that had passed when the wheel looked last."""
        self._idle_until = NEVER
        self.deadline = NEVER
        self.look_at = NEVER

    # the client's side

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=self.buffer_bytes)
        context = self._context
        process = context.process
        context.counts.cx_total += 1
        context.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        principal: str | None = None
        refused: PeerRefused | None = None
        if tls is not None:
            self._server_name = requested_server_name(tls)
            try:
                identity = check_client(tls, context.trust_domains)
            except PeerRefused as error:
                refused = error
            else:
                principal = str(identity.spiffe) if identity is not None and identity.spiffe is not None else None
        remote = transport.get_extra_info("peername") or ("", 0)
        destination = self.destination
        now = process.clock.monotonic()
        binding = process.telemetry.downstream(
            context.direction,
            _place(transport.get_extra_info("sockname") or ("", 0)) if destination is None else str(destination),
            _place(remote),
            principal=principal,
            server_name=self._server_name,
            access_log=context.config.access_log,
            trace=False,
        )
        self.record = TcpRecord(binding, now)
        if refused is not None:
            context.counts.cx_refused += 1
            log.info("client %s refused: %s", remote[0], refused)
            self.record.details = "peer_refused"
            transport.abort()
            return
        self._watch(now)
        choice = context.targets.pick(process.rng.random())
        self.record.target = choice.target
        self._dialling = process.scope.spawn(self._reach(choice), name="dial for a relayed connection")

    def data_received(self, data: bytes) -> None:
        self.record.received += len(data)
        upstream = self._upstream
        if upstream is not None:
            transport = upstream.transport
            if transport is not None:
                transport.write(data)
            return
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes >= EARLY_BYTES:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._pass_end()
        return True

    def pause_writing(self) -> None:
        self._blocked = True
        upstream = self._upstream
        if upstream is not None and upstream.transport is not None:
            upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        self._blocked = False
        upstream = self._upstream
        if upstream is not None and upstream.transport is not None:
            upstream.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.deadline = NEVER
        context = self._context
        context.counts.cx_active -= 1
        context.connections.discard(self)
        context.process.open.closed()
        self._early.clear()
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
            self._note("DC", "downstream_remote_disconnect")
        upstream = self._upstream
        if upstream is not None and not upstream.lost:
            if error is not None:
                self._note("DC", "downstream_remote_disconnect")
                reset(upstream.transport)
            elif upstream.transport is not None:
                upstream.transport.close()
        else:
            self._finish()

    # the upstream's side

    async def _reach(self, choice: TcpChoice) -> None:
        try:
            await reach(self, self._context, choice)
        except NoUpstream as none:
            self._dialling = None
            self._note(none.flag, none.details)
            self.transport.close()
        else:
            self._dialling = None

    def has(self, upstream: UpstreamSide) -> bool:
        """It is ours by now: `upstream_lost` will come for it."""
        return self._upstream is upstream

    def upstream_made(self, upstream: UpstreamSide) -> None:
        """Connected: send what the client has said so far, and listen to both."""
        transport = upstream.transport
        assert transport is not None
        if self._lost or self.transport.is_closing():
            self._upstream = upstream
            transport.abort()
            return
        self._upstream = upstream
        self.record.failure = None
        self._context.process.telemetry.tcp.opened(self.record)
        if self._early:
            transport.write(b"".join(self._early))
            paused = self._early_bytes >= EARLY_BYTES
            self._early.clear()
            if paused:
                self.transport.resume_reading()
        if self._blocked:
            transport.pause_reading()
        self._pass_end()

    def _pass_end(self) -> None:
        """The client's end goes to the upstream after what came before it. Both ended: so has the connection."""
        upstream = self._upstream
        if upstream is None or not self._ended or upstream.transport is None:
            return
        if upstream.ended:
            upstream.transport.close()
            self.transport.close()
        elif not upstream.transport.is_closing():
            upstream.transport.write_eof()

    def upstream_ended(self) -> None:
        """The upstream's end goes to the client likewise."""
        if self._ended:
            self._pass_end()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def pause_client(self, paused: bool) -> None:
        """The upstream reads slower than the client writes, or reads again."""
        if self._lost:
            return
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def upstream_lost(self, upstream: UpstreamSide, error: Exception | None) -> None:
        """The upstream's connection is gone, whether it was ours yet or not."""
        if not self.has(upstream):
            return  # the dial reports it
        upstream.gone()
        if self._lost:
            self._finish()
            return
        if error is not None:
            self._note("UC", "upstream_remote_disconnect")
            reset(self.transport)
        else:
            self.transport.close()

    def _note(self, flag: str, details: str) -> None:
        if not self.record.details:
            self.record.add_flag(flag)
            self.record.details = details

    def _finish(self) -> None:
        self._context.process.telemetry.tcp.closed(self.record, self._context.process.clock.monotonic())

    # time

    def _watch(self, now: float) -> None:
        idle_s = self._context.config.idle_timeout_s
        if not idle_s:
            return
        self._idle_until = now + idle_s
        self._look_again(now)

    def _look_again(self, now: float) -> None:
        # Nobody reads a clock as bytes pass; the wheel looks now and then whether any have.
        step_s = min(MAX_LOOK_S, self._context.config.idle_timeout_s / 4)
        self.deadline = min(self._idle_until, now + step_s)
        self._context.process.timers.watch(self, now)

    def expired(self, now: float) -> None:
        """The wheel looks: close what has been silent too long, both sides."""
        passed = self.record.received + self.record.sent
        if passed != self._seen:
            self._seen = passed
            self._idle_until = now + self._context.config.idle_timeout_s
        elif now >= self._idle_until:
            if not self.record.details:
                self.record.details = "idle_timeout"
            self.abort()
            return
        self._look_again(now)

    def abort(self) -> None:
        """Cut both sides."""
        if not self.record.details:
            self.record.details = "local_close"
        upstream = self._upstream
        if upstream is not None and upstream.transport is not None:
            upstream.transport.abort()
        self.transport.abort()

    def __repr__(self) -> str:
        state = "dialling" if self._upstream is None else "relaying"
        return f"<TcpConnection {state} {self.record.received} in, {self.record.sent} out>"


def _place(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
