"""The connections to one endpoint that carry tunnels: each is made for one and ends with it."""

import socket
from typing import Any

from sidecar.clusters.pool import Pool
from sidecar.clusters.raw_upstream import RawUpstream
from sidecar.clusters.upstream import ConnectFailed, UpstreamStream


class RawPool(Pool):
    """Beside the endpoint's own pool, whose settings, identity and counters it has."""

    def take(self, *, fresh: bool, checked: bool) -> UpstreamStream | None:
        return None

    def _make(self, sock: socket.socket) -> Any:
        return RawUpstream(self, str(self.address))

    def _opened(self, made: Any) -> ConnectFailed | None:
        connection: RawUpstream = made
        if connection.refused is not None:
            return ConnectFailed(f"TLS_error: {connection.refused}")
        if connection.closing:
            return ConnectFailed("connection closed at once")
        self._counts.cx_total += 1
        self._open.add(connection)
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.connected(connection)
        else:
            connection.close()
        return None

    def lost(self, connection: object) -> None:
        self._gone(connection)
