"""One relayed connection: bytes both ways as they come, with the ends of both directions and the speed of the slower.

The upstream is dialled as soon as the connection is there, so that a server that speaks first is heard. An end of one
direction (FIN, or TLS close_notify) is passed on when what came before it has left; the other direction goes on. A
reset of one side resets the other at once. What a client says while its upstream is dialled waits, within bounds.
"""

import asyncio
import logging
import socket
import struct
from typing import Any, Final

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import dial
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.clusters.upstream import ConnectFailed
from sidecar.listeners.tcp import TcpChoice, TcpContext
from sidecar.net.peer import PeerRefused, check_client, check_server
from sidecar.net.timers import MAX_LOOK_S, NEVER
from sidecar.net.tls import requested_server_name
from sidecar.telemetry.tcp import TcpRecord

EARLY_BYTES: Final = 64 * 1024
"""What a client may say before its upstream is there; then it is not read from."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)


class UpstreamSide(asyncio.Protocol):
    """The connection to the endpoint."""

    __slots__ = ("_cluster", "_endpoint", "_relay", "ended", "lost", "refused", "transport")

    def __init__(self, relay: "TcpConnection", cluster: LiveCluster, endpoint: LiveEndpoint) -> None:
        self._relay = relay
        self._cluster = cluster
        self._endpoint = endpoint
        self.transport: asyncio.Transport | None = None
        self.refused: PeerRefused | None = None
        """Why the endpoint's certificate does not do."""
        self.ended = False
        """The upstream has said that nothing follows."""
        self.lost = False

    def made(self, sock: socket.socket) -> "UpstreamSide":
        """What the dial asks for when the socket is connected."""
        return self

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=self._relay.buffer_bytes)
        security = self._endpoint.pool.security
        if security is not None and not security.context.check_hostname:
            try:
                check_server(transport.get_extra_info("ssl_object"), security.sans)
            except PeerRefused as error:
                self.refused = error
                transport.abort()
                return
        self._relay.upstream_made(self)

    def data_received(self, data: bytes) -> None:
        relay = self._relay
        relay.record.sent += len(data)
        relay.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        self._relay.upstream_ended()
        return True

    def pause_writing(self) -> None:
        self._relay.pause_client(True)

    def resume_writing(self) -> None:
        self._relay.pause_client(False)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._relay.upstream_lost(self, error)

    def gone(self) -> None:
        """Give back what the connection was counted as."""
        self._cluster.counts.cx_active -= 1
        self._endpoint.active -= 1


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

    def __init__(self, context: TcpContext, server_name: str | None = None) -> None:
        """`server_name`: of TLS that is passed through."""
        self._context = context
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
        now = process.clock.monotonic()
        binding = process.telemetry.downstream(
            context.direction,
            _place(transport.get_extra_info("sockname") or ("", 0)),
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
        self._dialling = process.scope.spawn(self._dial(choice), name="dial for a relayed connection")

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
                _reset(upstream.transport)
            elif upstream.transport is not None:
                upstream.transport.close()
        else:
            self._finish()

    # the upstream's side

    async def _dial(self, choice: TcpChoice) -> None:
        context = self._context
        record = self.record
        cluster = choice.cluster
        if cluster is None:
            self._give_up("NC", "cluster_not_found")
            return
        tried: list[LiveEndpoint] = []
        loop = context.process.loop
        while True:
            endpoint = cluster.pick(tried)
            if endpoint is None:
                self._give_up("UH", "no_healthy_upstream")
                return
            counts = cluster.counts
            if counts.cx_active >= cluster.config.thresholds.max_connections:
                self._give_up("UO", "upstream_max_connections_exceeded")
                return
            record.attempts += 1
            record.upstream = context.process.telemetry.upstream(
                cluster.config, endpoint.config, secure=endpoint.secure
            )
            upstream = UpstreamSide(self, cluster, endpoint)
            counts.cx_active += 1
            endpoint.active += 1
            try:
                pool = endpoint.pool
                timeout_s = cluster.config.connect_timeout_s
                await dial(pool.address, pool.security, timeout_s, loop, upstream.made)
                if upstream.refused is not None:
                    raise ConnectFailed(f"TLS_error: {upstream.refused}")
            except ConnectFailed as error:
                upstream.gone()
                counts.cx_connect_fail += 1
                record.failure = error.reason
                tried.append(endpoint)
            except asyncio.CancelledError:
                if self._upstream is not upstream:
                    upstream.gone()
                raise
            else:
                counts.cx_total += 1
                self._dialling = None
                return
            if record.attempts >= context.config.max_connect_attempts:
                self.record.add_flag("UF")
                self._give_up("URX", "upstream_connection_failure")
                return

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
        if self._upstream is not upstream:
            return  # the dial reports it
        upstream.gone()
        if self._lost:
            self._finish()
            return
        if error is not None:
            self._note("UC", "upstream_remote_disconnect")
            _reset(self.transport)
        else:
            self.transport.close()

    def _give_up(self, flag: str, details: str) -> None:
        self._dialling = None
        self._note(flag, details)
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


def _reset(transport: asyncio.Transport | None) -> None:
    """Close with a reset: whatever is on its way is worth nothing to a peer that must not take it for the whole."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        except OSError:
            pass  # closed already
    transport.abort()


def _place(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
