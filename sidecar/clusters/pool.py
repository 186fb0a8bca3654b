"""The HTTP/1.1 connections to one endpoint under one TLS identity. Giving and taking them back is synchronous."""

import socket
import ssl
from collections import deque
from typing import Any

from sidecar.clusters.counts import ClusterCounts
from sidecar.clusters.dial import Security, Surroundings, dial
from sidecar.clusters.h1_upstream import UpstreamConnection
from sidecar.clusters.upstream import ConnectFailed, Holder, Owner, UpstreamStream
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.net.peer import check_server
from sidecar.net.timers import MAX_LOOK_S, NEVER

_SHORT_S = 3 * MAX_LOOK_S

KEEP_ALIVE_MARGIN_S = 1.0
"""Ours ends this much before the idle time-out that the upstream announced, so that a request does not meet it."""


class Pool(Owner):
    """States of a connection: dialling, held by a request, or idle here (most recently used first)."""

    def __init__(
        self,
        address: Address,
        security: Security | None,
        config: Cluster,
        counts: ClusterCounts,
        around: Surroundings,
    ) -> None:
        self.address = address
        self.security = security
        self._config = config
        self._counts = counts
        self._around = around
        self.outbox = around.outbox
        self.buffer_bytes = config.buffer_bytes
        self._idle: list[UpstreamConnection] = []
        self._open: set[object] = set()
        self._waiting: deque[Holder] = deque()
        self._dialling = 0
        self._per_connection = 1
        """Requests that a connection takes at once, as far as is known before it is made."""
        self._retired = False
        self._now = around.clock.monotonic

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def open(self) -> int:
        return len(self._open)

    def beside(self, kind: "type[Pool]") -> "Pool":
        """Another pool for the same endpoint, with the settings of this one."""
        return kind(self.address, self.security, self._config, self._counts, self._around)

    def follow(self, other: "Pool") -> None:
        """Take over the settings of the other."""
        self.reconfigure(other._config)

    def reconfigure(self, config: Cluster) -> None:
        """The cluster's settings changed but not how its endpoint is reached."""
        self._config = config
        self.buffer_bytes = config.buffer_bytes

    def take(self, *, fresh: bool, checked: bool) -> UpstreamStream | None:
        """An idle connection, or None. `checked`: look whether the peer has closed it meanwhile, which costs a system
        call and spares a request that must not be sent twice. `fresh`: none that was used before."""
        if fresh:
            return None
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closing:
                continue
            if checked and connection.went_stale():
                connection.close()
                continue
            return connection
        return None

    def wait(self, waiter: Holder) -> None:
        """Have a connection made for `waiter`, or give it the next that is freed."""
        self._waiting.append(waiter)
        self._counts.rq_pending += 1
        self._dial_if_due()

    def _dial_if_due(self) -> None:
        """One dial for as many waiters as a connection takes, as many as the circuit breaker allows, but always one
        where there is no connection."""
        while self._dialling * self._per_connection < len(self._waiting) and (
            self._counts.cx_active < self._config.thresholds.max_connections or not (self._dialling or self._open)
        ):
            self._dialling += 1
            self._counts.cx_active += 1
            self._around.scope.spawn(self._dial(), name=f"dial {self.address}")

    def forget(self, waiter: Holder) -> None:
        """`waiter` no longer wants a connection; one under way becomes idle."""
        try:
            self._waiting.remove(waiter)
        except ValueError:
            return
        self._counts.rq_pending -= 1

    def _next_waiter(self) -> Holder | None:
        if not self._waiting:
            return None
        self._counts.rq_pending -= 1
        return self._waiting.popleft()

    def retire(self) -> None:
        """No more requests: idle connections close now, held ones after their request."""
        self._retired = True
        for connection in list(self._idle):
            connection.close()

    async def _dial(self) -> None:
        made: list[Any] = []

        def make(sock: socket.socket) -> Any:
            made.append(self._make(sock))
            return made[0]

        async def ready() -> None:
            await self._ready(made[0])

        failure: ConnectFailed | None = None
        loop = self._around.loop
        try:
            await dial(self.address, self.security, self._config, loop, make, self.outbox, ready)
        except ConnectFailed as error:
            failure = error
        finally:
            self._dialling -= 1
        if failure is None:
            failure = self._opened(made[0])
        if failure is not None:
            self._failed(failure)

    def _make(self, sock: socket.socket) -> Any:
        """The protocol of a connection that is being made."""
        return UpstreamConnection(self, sock, str(self.address))

    async def _ready(self, made: Any) -> None:
        """Until the connection can take requests. Raises OSError if it never will."""

    def _opened(self, made: Any) -> ConnectFailed | None:
        """A connection was made; why it is of no use, or None."""
        connection: UpstreamConnection = made
        if connection.refused is not None:
            return ConnectFailed(f"TLS_error: {connection.refused}")
        if connection.closing:
            return ConnectFailed("connection closed at once")
        self._counts.cx_total += 1
        self._open.add(connection)
        self._offer(connection)
        return None

    def _failed(self, failure: ConnectFailed) -> None:
        self._counts.cx_active -= 1
        self._counts.cx_connect_fail += 1
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.connect_failed(failure)
        self._dial_if_due()

    def _offer(self, connection: UpstreamConnection) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.connected(connection)
        elif self._retired:
            connection.close()
        else:
            self._rest(connection)

    def _rest(self, connection: UpstreamConnection) -> None:
        self._idle.append(connection)
        if connection.look_at == NEVER or connection.keep_alive_s is not None or self._config.idle_timeout_s < _SHORT_S:
            now = self._now()
            self.watch(connection, now, now)

    def watch(self, connection: UpstreamConnection, now: float, since: float) -> None:
        """Have an idle connection closed in time: before its upstream does it, and within the cluster's time-out.

        Usually nobody reads the clock when a connection comes to rest. The wheel looks every few seconds whether it
        was used since its last look, and counts from that look, `since`.
        """
        idle_s = self._config.idle_timeout_s
        if connection.keep_alive_s is not None:
            idle_s = min(idle_s, max(0.0, connection.keep_alive_s - KEEP_ALIVE_MARGIN_S))
        connection.seen_requests = connection.requests
        connection.deadline = now + min(idle_s, MAX_LOOK_S)
        connection.idle_until = since + idle_s
        if connection.deadline < connection.look_at:
            self._around.timers.watch(connection, now)

    # the connections' Owner

    def verify(self, tls: ssl.SSLObject) -> None:
        """Raises PeerRefused when the peer is not who this endpoint should be."""
        security = self.security
        if security is not None and not security.context.check_hostname:
            check_server(tls, security.sans)

    def freed(self, connection: UpstreamConnection) -> None:
        """The answer is whole and the request was sent whole: another request may have `connection`, if it lasts."""
        connection.holder = None
        limit = self._config.max_requests_per_connection
        if self._retired or not connection.reader.reusable or (limit and connection.requests >= limit):
            connection.close()
        elif self._waiting:
            self._offer(connection)
        else:
            self._rest(connection)

    def rewatch(self, connection: UpstreamConnection, now: float) -> None:
        """Look again at the connection's deadline."""
        self._around.timers.watch(connection, now)

    def gone(self, connection: UpstreamConnection) -> None:
        """`connection` closed or is closing. Called once or more often for each."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._gone(connection)

    def _gone(self, connection: object) -> None:
        if connection in self._open:
            self._open.remove(connection)
            self._counts.cx_active -= 1
            self._dial_if_due()

    def __repr__(self) -> str:
        return (
            f"<Pool {self.address} {len(self._open)} open, {len(self._idle)} idle, {len(self._waiting)} waiting, "
            f"{self._dialling} dialling{', retired' if self._retired else ''}>"
        )
