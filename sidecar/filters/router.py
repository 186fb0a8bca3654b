"""The last filter: one request to an upstream and its answer back, with time-outs, retries and circuit breakers.

It knows neither the client's protocol nor how a reply is worded: `Client` is whoever asked.
"""

from typing import Final

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.clusters.pool import ConnectFailed
from sidecar.clusters.upstream import HIGH_WATER_BYTES, UpstreamConnection
from sidecar.filters import failures
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.filters.retries import Retries
from sidecar.http.errors import ProtocolError
from sidecar.http.fields import idempotent
from sidecar.http.h1_render import LAST_CHUNK, chunk
from sidecar.http.h1_response import ResponseEvent
from sidecar.http.head import CHUNKED, End, ResponseHead
from sidecar.net.timers import NEVER

MAX_REPLAY_BYTES: Final = 64 * 1024
"""A longer body is not kept, and its request not sent again once any of it was sent."""


class Router:
    """States: picking, waiting for a connection, sending and receiving, backing off, done."""

    __slots__ = (
        "_attempts_left",
        "_backing_off",
        "_body",
        "_body_bytes",
        "_client",
        "_cluster",
        "_done",
        "_held_client",
        "_repeatable",
        "_resent",
        "_responded",
        "_retries",
        "_retrying",
        "_sent",
        "_tried",
        "_unsent",
        "_unsent_bytes",
        "_waiting",
        "attempts",
        "connection",
        "endpoint",
        "request_whole",
        "try_deadline",
    )

    def __init__(self, client: Client, cluster: LiveCluster, retries: Retries | None) -> None:
        self._client = client
        self._cluster = cluster
        self._retries = retries
        self._attempts_left = 0 if retries is None else retries.policy.attempts
        self._repeatable = idempotent(client.head.method)
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._body: list[bytes] | None = []
        self._body_bytes = 0
        self._tried: tuple[LiveEndpoint, ...] = ()
        self._sent = False
        self._resent = False
        self._responded = False
        self._waiting = False
        self._backing_off = False
        self._retrying = False
        self._held_client = False
        self._done = False
        self.attempts = 0
        self.connection: UpstreamConnection | None = None
        self.endpoint: LiveEndpoint | None = None
        self.request_whole = False
        self.try_deadline = NEVER
        """When this try is given up, monotonic seconds; whoever keeps time calls `try_timed_out`."""

    # the client's side

    def start(self, now: float) -> None:
        """Choose an endpoint and a connection. May fail at once."""
        cluster = self._cluster
        counts = cluster.counts
        if not counts.may_request(cluster.config.thresholds):
            counts.rq_overflow += 1
            self._done = True
            self._client.failed(failures.OVERFLOW)
            return
        counts.rq_active += 1
        if self._retries is not None and self._retries.policy.per_try_timeout_s is not None:
            self.try_deadline = now + self._retries.policy.per_try_timeout_s
        self._attempt(fresh=False)
        if self.request_whole:
            self.flush()

    def data(self, data: bytes) -> None:
        """A piece of the request's body. `flush` sends it."""
        if self._done:
            return
        if self._client.head.length == CHUNKED:
            data = chunk(data)
        self._keep(data)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self.connection is None and self._unsent_bytes > HIGH_WATER_BYTES:
            self._hold_client(True)

    def end(self) -> None:
        """The request is whole. `flush` sends what is left."""
        self.request_whole = True
        if not self._done and self._client.head.length == CHUNKED:
            self._keep(LAST_CHUNK)
            self._unsent.append(LAST_CHUNK)

    @property
    def unsent_bytes(self) -> int:
        """Of the body, waiting for a connection."""
        return self._unsent_bytes

    def flush(self) -> None:
        """Write what has gathered: one write for head and body."""
        connection = self.connection
        unsent = self._unsent
        if connection is None or not unsent:
            return
        self._unsent = []
        self._unsent_bytes = 0
        self._sent = True
        connection.transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def hold_upstream(self, held: bool) -> None:
        """The client reads slower than the upstream answers, or reads again."""
        connection = self.connection
        if connection is None or connection.closing:
            return
        if held:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()

    def cancel(self) -> None:
        """The client has gone, or its time is up. Nothing is called back any more."""
        if not self._done:
            self._leave_endpoint()
            self._finish()

    def timed_out(self) -> None:
        """The client's time for the whole request is up; `cancel` follows."""
        self._cluster.counts.rq_timeout += 1

    def try_timed_out(self) -> None:
        """`try_deadline` has passed."""
        self.try_deadline = NEVER
        self._cluster.counts.rq_timeout += 1
        retries = self._retries
        assert retries is not None
        if not self._responded and (retries.on_reset or 504 in retries.statuses) and self._try_again():
            return
        self._give_up(failures.PER_TRY_TIMEOUT)

    # the upstream's side

    def connected(self, connection: UpstreamConnection) -> None:
        self._waiting = False
        self._hold(connection)
        self.flush()
        self._hold_client(False)

    def connect_failed(self, error: ConnectFailed) -> None:
        self._waiting = False
        retries = self._retries
        if retries is not None and retries.on_connect_failure and self._try_again():
            return
        self._give_up(failures.connect_failed(error))

    def upstream_events(self, events: list[ResponseEvent]) -> None:
        client = self._client
        for event in events:
            if event.__class__ is bytes:
                client.answer_data(event)
            elif isinstance(event, ResponseHead):
                if event.status < 200:
                    client.informed(event)
                    continue
                retries = self._retries
                if retries is not None and event.status in retries.statuses:
                    if self._try_again():
                        return
                    if self._retrying and self._attempts_left <= 0:
                        client.record.add_flag("URX")
                self._responded = True
                self._body = None
                connection = self.connection
                assert connection is not None
                connection.keep_alive_s = event.keep_alive_s
                if event.close:
                    connection.reader.reusable = False
                client.answered(event)
            elif isinstance(event, End):
                self._complete()
                client.answer_ended()
                return
            elif isinstance(event, ProtocolError):
                self._upstream_broke(event)
                return
        client.flush()

    def _complete(self) -> None:
        """The answer is whole. The connection is free before the client hears of it, for its next request."""
        endpoint = self.endpoint
        connection = self.connection
        assert endpoint is not None
        assert connection is not None
        self._done = True
        self.endpoint = None
        self.connection = None
        endpoint.active -= 1
        counts = self._cluster.counts
        counts.rq_active -= 1
        if self._retrying:
            counts.rq_retry_active -= 1
        if self._held_client:
            self._hold_client(False)
        if self.request_whole:
            endpoint.pool.freed(connection)
        else:
            connection.discard()

    def upstream_lost(self, error: Exception | None) -> None:
        connection = self.connection
        self.connection = None
        if self._done or connection is None:
            return
        if self._responded:
            self._give_up(failures.RESET_AFTER)
            return
        # A pooled connection may have been closed by the upstream just as the request left: that says nothing about
        # the upstream, so what may be repeated is sent again once, on a connection of its own (RFC 9112 9.3.1).
        stale = connection.requests > 1 and not self._resent
        if stale and self._may_repeat() and not connection.reader.answering:
            self._resent = True
            self._again(fresh=True)
            return
        retries = self._retries
        if retries is not None and retries.on_reset and self._try_again():
            return
        self._give_up(failures.TERMINATED)

    def upstream_blocked(self, blocked: bool) -> None:
        self._hold_client(blocked)

    # inside

    def _attempt(self, *, fresh: bool) -> None:
        cluster = self._cluster
        counts = cluster.counts
        endpoint = cluster.pick(self._tried)
        if endpoint is None:
            self._give_up(failures.NO_HEALTHY_UPSTREAM)
            return
        endpoint.active += 1
        counts.rq_total += 1
        self.endpoint = endpoint
        self.attempts += 1
        self._sent = False
        body = self._body
        self._unsent = [self._client.render_request(endpoint, self.attempts)]
        if body:
            self._unsent += body
        pool = endpoint.pool
        connection = pool.take(fresh=fresh, checked=not self._repeatable)
        if connection is not None:
            self._hold(connection)
        elif not counts.may_wait(cluster.config.thresholds):
            counts.rq_overflow += 1
            self._give_up(failures.OVERFLOW)
        else:
            self._waiting = True
            pool.wait(self)

    def _hold(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.hold(self, self._client.head.method)

    def _keep(self, data: bytes) -> None:
        if self._body is not None:
            self._body_bytes += len(data)
            if self._body_bytes > MAX_REPLAY_BYTES:
                self._body = None
            else:
                self._body.append(data)

    def _may_repeat(self) -> bool:
        """Sending again does no harm, and everything to send is there."""
        if not self._sent:
            if self._body is None:
                # More than is kept, but none of it has left: the head is first in line, the body behind it.
                self._body = self._unsent[1:]
            return True
        return self._repeatable and self._body is not None

    def _try_again(self) -> bool:
        """Retry if policy, budget and the request allow it."""
        retries = self._retries
        counts = self._cluster.counts
        if retries is None or self._done or self._attempts_left <= 0 or not self._may_repeat():
            return False
        if not self._retrying and not counts.may_retry(self._cluster.config.thresholds):
            return False
        self._attempts_left -= 1
        if not self._retrying:
            self._retrying = True
            counts.rq_retry_active += 1
        counts.rq_retry += 1
        if self.endpoint is not None:
            self._tried = (*self._tried, self.endpoint)
        self._leave_endpoint()
        self._backing_off = True
        self.try_deadline = NEVER
        retries.call_later(retries.back_off_s(self.attempts), self._back_off_over)
        return True

    def _back_off_over(self) -> None:
        if self._backing_off and not self._done:
            self._backing_off = False
            self._again(fresh=False)

    def _again(self, *, fresh: bool) -> None:
        self._leave_endpoint()
        self._attempt(fresh=fresh)
        self.flush()

    def _upstream_broke(self, error: ProtocolError) -> None:
        if self._responded:
            self._give_up(failures.RESET_AFTER)
            return
        self._give_up(failures.protocol_error(error))

    def _give_up(self, failure: Failure) -> None:
        if self._done:
            return
        if not self._responded and self._retries is not None and self._retrying and self._attempts_left <= 0:
            self._client.record.add_flag("URX")
        self._leave_endpoint()
        self._finish()
        self._client.failed(failure)

    def _leave_endpoint(self) -> None:
        """Part with the endpoint in the middle of things: its connection is of no more use."""
        endpoint = self.endpoint
        if endpoint is None:
            return
        self.endpoint = None
        endpoint.active -= 1
        if self._waiting:
            self._waiting = False
            endpoint.pool.forget(self)
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.discard()
        if self._held_client:
            self._hold_client(False)

    def _finish(self) -> None:
        self._done = True
        self._backing_off = False
        self._unsent = []
        self._body = None
        counts = self._cluster.counts
        counts.rq_active -= 1
        if self._retrying:
            counts.rq_retry_active -= 1

    def _hold_client(self, held: bool) -> None:
        if held != self._held_client:
            self._held_client = held
            self._client.hold_client(held)

    def __repr__(self) -> str:
        return f"<Router to {self._cluster.name}, try {self.attempts}, {'done' if self._done else 'under way'}>"
