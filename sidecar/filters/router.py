"""The last filter: one request to an upstream and its answer back, with time-outs, retries and circuit breakers.

It knows neither side's protocol nor how a reply is worded: `Client` is whoever asked, an UpstreamStream carries the
request.
"""

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.clusters.losses import CLOSED, REFUSED, STALE, Loss
from sidecar.clusters.upstream import AnswerEvent, ConnectFailed, UpstreamStream
from sidecar.filters import failures
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.filters.retries import Retries
from sidecar.filters.sending import Sending
from sidecar.http import grpc
from sidecar.http.errors import ProtocolError
from sidecar.http.head import End, ResponseHead, Trailers
from sidecar.net.timers import NEVER


class Router(Sending):
    """States: picking, waiting for a stream, sending and receiving, backing off, done."""

    __slots__ = (
        "_attempts_left",
        "_backing_off",
        "_cluster",
        "_resent",
        "_responded",
        "_retries",
        "_retrying",
        "_shut",
        "_tried",
        "_tunnel",
        "_waiting",
        "attempts",
        "endpoint",
        "raw",
    )

    def __init__(self, client: Client, cluster: LiveCluster, retries: Retries | None) -> None:
        super().__init__(client)
        self._cluster = cluster
        self._retries = retries
        self._attempts_left = 0 if retries is None else retries.policy.attempts
        self._tried: tuple[LiveEndpoint, ...] = ()
        self._resent = False
        self._responded = False
        self._waiting = False
        self._backing_off = False
        self._retrying = False
        self._tunnel = False
        """The protocols were switched ..."""
        self._shut = False
        """... and the upstream sends no more."""
        self.attempts = 0
        self.endpoint: LiveEndpoint | None = None
        self.raw = False
        """The endpoint gets the tunnel's bytes, and no request."""

    # the client's side

    def start(self, now: float) -> None:
        """Choose an endpoint and a stream. May fail at once."""
        cluster = self._cluster
        counts = cluster.counts
        if not counts.may_request(cluster.config.thresholds):
            counts.rq_overflow += 1
            self._done = True
            self._client.failed(failures.OVERFLOW)
            return
        counts.rq_active += 1
        if self._retries is not None and self._retries.policy.per_try_timeout_s is not None:
            self.try_started(now)
        self._attempt(fresh=False)

    def try_started(self, now: float) -> None:
        """Count the time of one try from `now`."""
        retries = self._retries
        if retries is not None and retries.policy.per_try_timeout_s is not None:
            self.try_deadline = now + retries.policy.per_try_timeout_s

    def hold_upstream(self, held: bool) -> None:
        """The client reads slower than the upstream answers, or reads again."""
        stream = self.stream
        if stream is not None:
            stream.hold(held)

    def cancel(self) -> None:
        """The client has gone, or its time is up. Nothing is called back any more."""
        if not self._done:
            self._leave_endpoint()
            self._finish()

    def timed_out(self) -> None:
        """The client's time for the whole request is up; `cancel` follows."""
        self._cluster.counts.rq_timeout += 1
        self._report_timeout()

    def try_timed_out(self) -> None:
        """`try_deadline` has passed."""
        self.try_deadline = NEVER
        self._cluster.counts.rq_timeout += 1
        self._report_timeout()
        retries = self._retries
        assert retries is not None
        if not self._responded and (retries.on_reset or 504 in retries.statuses) and self._try_again(CLOSED):
            return
        self._give_up(failures.PER_TRY_TIMEOUT)

    # the upstream's side

    def connected(self, stream: UpstreamStream) -> None:
        self._waiting = False
        super().connected(stream)

    def connect_failed(self, error: ConnectFailed) -> None:
        self._waiting = False
        self._report_failure(503, connected=False)
        retries = self._retries
        if retries is not None and retries.on_connect_failure and self._try_again(CLOSED):
            return
        self._give_up(failures.connect_failed(error))

    def upstream_events(self, events: list[AnswerEvent]) -> None:
        client = self._client
        for event in events:
            if event.__class__ is bytes:
                client.answer_data(event)
            elif isinstance(event, ResponseHead):
                if event.status < 200:
                    if event.upgrade is None:
                        client.informed(event)
                        continue
                    self._switch()
                endpoint = self.endpoint
                assert endpoint is not None
                outlier = endpoint.outlier
                if outlier is not None:
                    outlier.answered(_outcome(event) if client.head.grpc else event.status)
                retries = self._retries
                if retries is not None and (
                    event.status in retries.statuses or (client.head.grpc and _refused(event, retries))
                ):
                    if self._try_again(CLOSED if event.status in retries.statuses else REFUSED):
                        return
                    if self._retrying and self._attempts_left <= 0:
                        client.record.add_flag("URX")
                self._responded = True
                self._body = None
                if event.close or event.keep_alive_s is not None:
                    stream = self.stream
                    assert stream is not None
                    stream.heed(event)
                client.answered(event)
            elif isinstance(event, End):
                if not self.request_whole and self._tunnel:
                    self._shut = True
                    client.flush()
                    client.answer_shut()
                    return
                self._complete()
                client.answer_ended()
                return
            elif isinstance(event, ProtocolError):
                self._upstream_broke(event)
                return
            elif isinstance(event, Trailers):
                client.answer_trailers(event.headers)
        client.flush()

    def _switch(self) -> None:
        """The upstream has switched protocols: bytes pass both ways until both have ended."""
        stream = self.stream
        assert stream is not None
        stream.switch()
        self._tunnel = True
        self.request_whole = False
        self.try_deadline = NEVER

    def tunnel_half_closed(self) -> None:
        """The client sends no more. If the upstream does not either, that was all."""
        if self._shut and not self._done:
            self.flush()  # its end, behind which the stream is let go
            self._complete()
            self._client.answer_ended()

    def _complete(self) -> None:
        """The answer is whole. The stream is free before the client hears of it, for its next request."""
        endpoint = self.endpoint
        stream = self.stream
        assert endpoint is not None
        assert stream is not None
        self._done = True
        self.endpoint = None
        self.stream = None
        endpoint.active -= 1
        counts = self._cluster.counts
        counts.rq_active -= 1
        if self._retrying:
            counts.rq_retry_active -= 1
        if self._held_client:
            self._hold_client(False)
        stream.finished(self.request_whole)

    def upstream_lost(self, loss: Loss) -> None:
        lost = self.stream
        self.stream = None
        if self._done or lost is None:
            return
        if self._responded:
            self._report_failure(503, connected=True)
            self._give_up(failures.lost_inside(loss))
            return
        # Neither says anything about the upstream: what may be repeated is sent again once, without a policy's leave.
        if (loss is STALE or loss is REFUSED) and not self._resent and self._rewind(loss):
            self._resent = True
            self._again(fresh=True)
            return
        self._report_failure(503, connected=True)
        retries = self._retries
        if retries is not None:
            wanted = retries.on_refused if loss is REFUSED else retries.on_reset
            if wanted and self._try_again(loss):
                return
        self._give_up(failures.lost(loss))

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
        self._more = self._client.sending(endpoint, self.attempts)
        pool = endpoint.pool if not self.raw else endpoint.tunnels()
        stream = pool.take(fresh=fresh, checked=not self._repeatable)
        if stream is not None:
            self._begin(stream)
        elif not counts.may_wait(cluster.config.thresholds):
            counts.rq_overflow += 1
            self._give_up(failures.OVERFLOW)
        else:
            self._waiting = True
            pool.wait(self)

    def _try_again(self, loss: Loss) -> bool:
        """Retry if policy, budget and the request allow it."""
        retries = self._retries
        counts = self._cluster.counts
        if retries is None or self._done or self._attempts_left <= 0:
            return False
        if not self._retrying and not counts.may_retry(self._cluster.config.thresholds):
            return False
        if not self._rewind(loss):
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

    def _report_failure(self, status: int, *, connected: bool) -> None:
        """For outlier detection: no answer, or no whole one; `status` stands for it."""
        endpoint = self.endpoint
        if endpoint is not None and endpoint.outlier is not None:
            endpoint.outlier.failed(status, connected=connected)

    def _report_timeout(self) -> None:
        """The same, if the upstream had the request and has said nothing."""
        if self.stream is not None and not self._responded:
            self._report_failure(504, connected=True)

    def _upstream_broke(self, error: ProtocolError) -> None:
        self._report_failure(503, connected=True)
        if self._responded:
            self._give_up(failures.lost_inside(CLOSED))
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
        """Part with the endpoint in the middle of things: its stream is of no more use."""
        endpoint = self.endpoint
        if endpoint is None:
            return
        self.endpoint = None
        endpoint.active -= 1
        if self._waiting:
            self._waiting = False
            (endpoint.pool if not self.raw else endpoint.tunnels()).forget(self)
        stream = self.stream
        if stream is not None:
            self.stream = None
            stream.discard()
        if self._held_client:
            self._hold_client(False)

    def _finish(self) -> None:
        self._done = True
        self._backing_off = False
        self._forget_request()
        counts = self._cluster.counts
        counts.rq_active -= 1
        if self._retrying:
            counts.rq_retry_active -= 1

    def __repr__(self) -> str:
        return f"<Router to {self._cluster.name}, try {self.attempts}, {'done' if self._done else 'under way'}>"


def _refused(head: ResponseHead, retries: Retries) -> bool:
    """A call of gRPC whose answer is nothing but a status that the policy names. Calls are POST, whatever they do:
    such a one is sent again as gRPC's own clients would (gRFC A6)."""
    if not retries.grpc_statuses or head.length:
        return False
    return grpc.find_status(head.headers) in retries.grpc_statuses


def _outcome(head: ResponseHead) -> int:
    """For outlier detection, of a call of gRPC: an answer that is nothing but a status counts by it."""
    status = grpc.find_status(head.headers)
    return head.status if status is None else grpc.http_of_status(status)
