"""A relayed connection's upstream: dialled, another endpoint where one fails, and counted while it lives.

What passes through it and when it ends is the relay's to say.
"""

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import dial
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.clusters.upstream import ConnectFailed
from sidecar.listeners.tcp import TcpChoice, TcpContext
from sidecar.net.peer import PeerRefused, check_server

if TYPE_CHECKING:
    from sidecar.listeners.tcp_relay import TcpConnection

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class NoUpstream(Exception):
    """No endpoint could be connected to, or none may be: response flag and details for the access log."""

    def __init__(self, flag: str, details: str) -> None:
        super().__init__(details)
        self.flag = flag
        self.details = details


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


async def reach(relay: "TcpConnection", context: TcpContext, choice: TcpChoice) -> None:
    """Connect to an endpoint of the cluster; `relay.upstream_made` hears of it. Raises NoUpstream."""
    record = relay.record
    cluster = choice.cluster or _meant(relay, choice)
    tried: list[LiveEndpoint] = []
    loop = context.process.loop
    while True:
        endpoint = cluster.pick(tried)
        if endpoint is None:
            raise NoUpstream("UH", "no_healthy_upstream")
        counts = cluster.counts
        if counts.cx_active >= cluster.config.thresholds.max_connections:
            raise NoUpstream("UO", "upstream_max_connections_exceeded")
        record.attempts += 1
        record.upstream = context.process.telemetry.upstream(cluster.config, endpoint.config, secure=endpoint.secure)
        upstream = UpstreamSide(relay, cluster, endpoint)
        counts.cx_active += 1
        endpoint.active += 1
        try:
            pool = endpoint.pool
            await dial(pool.address, pool.security, cluster.config, loop, upstream.made)
            if upstream.refused is not None:
                raise ConnectFailed(f"TLS_error: {upstream.refused}")
        except ConnectFailed as error:
            upstream.gone()
            counts.cx_connect_fail += 1
            record.failure = error.reason
            if endpoint.outlier is not None:
                endpoint.outlier.failed(504 if error.timed_out else 503, connected=False)
            tried.append(endpoint)
        except asyncio.CancelledError:
            if not relay.has(upstream):
                upstream.gone()
            raise
        else:
            counts.cx_total += 1
            if endpoint.outlier is not None:
                endpoint.outlier.answered(200)  # of bytes there is no other answer
            return
        if record.attempts >= context.config.max_connect_attempts:
            record.add_flag("UF")
            raise NoUpstream("URX", "upstream_connection_failure")


def _meant(relay: "TcpConnection", choice: TcpChoice) -> LiveCluster:
    """Where the client's connection was going. Raises NoUpstream."""
    if choice.original is None:
        raise NoUpstream("NC", "cluster_not_found")
    if relay.destination is None:
        raise NoUpstream("UH", "no_healthy_upstream")
    found = choice.original.to(relay.destination, False)
    if found is None:
        raise NoUpstream("UO", "upstream_max_destinations_exceeded")
    return found


def reset(transport: asyncio.Transport | None) -> None:
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
