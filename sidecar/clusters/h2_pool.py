"""The connections to one endpoint that speaks HTTP/2, or that chooses by ALPN: requests share them."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from sidecar.clusters.counts import ClusterCounts
from sidecar.clusters.dial import Security, Surroundings
from sidecar.clusters.h1_upstream import UpstreamConnection
from sidecar.clusters.h2_upstream import H2Upstream
from sidecar.clusters.pool import Pool
from sidecar.clusters.upstream import ConnectFailed, UpstreamStream
from sidecar.config.cluster import Cluster, Protocol
from sidecar.config.endpoint import Address

_H2: Final = "h2"


class H2Pool(Pool):
    """Beside what Pool has: `_shared`, connections on which requests may begin. The first with room takes the next."""

    def __init__(
        self,
        address: Address,
        security: Security | None,
        config: Cluster,
        counts: ClusterCounts,
        around: Surroundings,
    ) -> None:
        super().__init__(address, security, config, counts, around)
        self._shared: list[H2Upstream] = []
        self._by_alpn = config.protocol is Protocol.AUTO
        self._per_connection = config.http2.max_streams

    @property
    def idle(self) -> int:
        return len(self._idle) + sum(not connection.active for connection in self._shared)

    def take(self, *, fresh: bool, checked: bool) -> UpstreamStream | None:
        for connection in self._shared:
            if connection.available > 0:
                return connection.stream()
        return super().take(fresh=fresh, checked=checked)

    def retire(self) -> None:
        super().retire()
        for connection in list(self._shared):
            connection.retire()

    # dialling

    def _make(self, sock: socket.socket) -> Any:
        if self._by_alpn:
            return _AlpnChoice(sock, self._choose)
        return self._make_shared()

    def _make_shared(self) -> H2Upstream:
        around = self._around
        return H2Upstream(self, str(self.address), self._config, around.loop, around.clock, around.timers)

    def _choose(self, sock: socket.socket, protocol: str | None) -> Any:
        if protocol == _H2:
            self._per_connection = self._config.http2.max_streams
            return self._make_shared()
        self._per_connection = 1
        return UpstreamConnection(self, sock, str(self.address))

    async def _ready(self, made: Any) -> None:
        connection = made.chosen if isinstance(made, _AlpnChoice) else made
        if isinstance(connection, H2Upstream) and connection.refused is None:
            await connection.settled()

    def _opened(self, made: Any) -> ConnectFailed | None:
        connection = made.chosen if isinstance(made, _AlpnChoice) else made
        if not isinstance(connection, H2Upstream):
            return super()._opened(connection)
        if connection.refused is not None:
            return ConnectFailed(f"TLS_error: {connection.refused}")
        if connection.closing or connection.going:
            return ConnectFailed("connection closed at once")
        if connection.available <= 0:
            connection.close()
            return ConnectFailed("the upstream allows no HTTP/2 streams")
        self._per_connection = min(self._config.http2.max_streams, connection.codec.peer_max_streams)
        self._counts.cx_total += 1
        self._open.add(connection)
        self._shared.append(connection)
        self.offer(connection)
        self._dial_if_due()  # where it does not take all that wait
        return None

    # the connections

    def offer(self, connection: H2Upstream) -> None:
        """`connection` has room: requests that wait begin."""
        limit = self._config.max_requests_per_connection
        while self._waiting and connection.available > 0:
            waiter = self._next_waiter()
            if waiter is not None:
                waiter.connected(connection.stream())
        if self._retired or (limit and connection.requests >= limit):
            self.left(connection)
            connection.retire()

    def left(self, connection: H2Upstream) -> None:
        """No new requests on `connection`."""
        if connection in self._shared:
            self._shared.remove(connection)
            self._dial_if_due()

    def unanswered(self) -> None:
        """A connection was given up since its endpoint did not answer a PING."""
        self._counts.keepalive_timeout += 1

    def closed(self, connection: H2Upstream) -> None:
        """`connection` is gone."""
        self._gone(connection)


class _AlpnChoice:
    """The loop's protocol until TLS has told what is spoken; then `chosen` is."""

    def __init__(self, sock: socket.socket, choose: Callable[[socket.socket, str | None], Any]) -> None:
        self._sock = sock
        self._choose = choose
        self.chosen: Any = None

    def connection_made(self, transport: Any) -> None:
        tls = transport.get_extra_info("ssl_object")
        chosen = self._choose(self._sock, None if tls is None else tls.selected_alpn_protocol())
        transport.set_protocol(cast(asyncio.Protocol, chosen))
        self.chosen = chosen
        chosen.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Never: nothing is read before TLS has told."""
