"""One request between a client's connection and the router: admit, match, filter, forward; who may take how long."""

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.filters import failures
from sidecar.filters.chain import LocalReply, NeedBody
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.filters.router import Router
from sidecar.filters.tunnel import TunnelRouter
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.listeners import local_reply
from sidecar.listeners.client_stream import NO_SERVICE_TIME, ClientStream
from sidecar.listeners.filtering import Filtering
from sidecar.listeners.mirror import Mirror
from sidecar.listeners.routes import BoundForward, Choice
from sidecar.net.timers import NEVER


class Exchange(Filtering):
    """States: filtering (maybe paused), forwarding, answering, over. It is the router's Client."""

    __slots__ = (
        "_asked_at",
        "_cap_at",
        "_choice",
        "_forward",
        "_limit_at",
        "_mirrors",
        "_request_by",
        "_request_trailers",
        "_timeout_at",
        "tunnel",
    )

    def __init__(self, stream: ClientStream, head: RequestHead, now: float) -> None:
        super().__init__(stream, head, now)
        self._forward: BoundForward | None = None
        self._choice: Choice | None = None
        self._mirrors: tuple[Mirror, ...] = ()
        self._request_trailers: list[Header] | None = None
        self._limit_at = NEVER
        self._timeout_at = NEVER
        self._request_by = NEVER
        self._cap_at = NEVER
        self._asked_at = now
        self.tunnel = False
        """The protocols were switched."""

    # the request

    def limit(self, at: float) -> None:
        """The client says itself when it gives up (gRPC's deadline), monotonic seconds."""
        self._limit_at = self._timeout_at = at

    def bound(self, request_by: float, answer_by: float) -> None:
        """When the request, and when its answer must be whole; monotonic seconds."""
        self._request_by = request_by
        self._cap_at = answer_by

    def start(self, whole: bool, now: float) -> None:
        """Admit, match, filter, forward. `whole`: the request has no body, or none that is still to come."""
        self.request_whole = whole
        stream = self._stream
        context = stream.context
        head = self.head
        record = self.record
        ours = head.ours
        record.request_id = stream.admission.admit(head)
        record.user_agent = ours.get(b"user-agent")
        record.forwarded_for = ours.get(b"x-forwarded-for")
        if stream.peer is not None:
            record.peer_metadata = ours.get(b"x-envoy-peer-metadata")
        trace = record.trace = context.tracer.begin(ours.get(b"traceparent"))
        head.headers.append((b"traceparent", trace.render()))
        route = self.route = context.table.match(head)
        if route is None:
            self.refuse(local_reply.NO_ROUTE if head.method != b"CONNECT" else local_reply.NO_TUNNELS)
            return
        record.target = route.target
        chain = route.chain
        if chain:
            self._filter(0, now)
        else:
            self._go(now)

    def _go(self, now: float) -> None:
        route = self.route
        assert route is not None
        forward = route.forward
        if forward is None:
            reply = route.redirect(self.head) if route.redirect is not None else route.direct
            assert reply is not None
            self._reply(reply, edits=True)
            return
        head = self.head
        context = self._stream.context
        choice = self._choice = forward.choices.pick(context.process.rng.random())
        self.record.target = choice.target
        cluster = choice.cluster
        if cluster is None:
            cluster = self._meant(choice)
            if cluster is None:
                return
        self._forward = forward
        if head.upgrade is not None and not self._may_switch(head.upgrade, forward):
            head.close = True  # as Envoy: what the client sent behind it may be meant for another protocol
            self.refuse(local_reply.NO_TUNNELS)
            return
        if choice.edits.request is not None:
            choice.edits.request.apply(head.headers)
        if forward.rewrite is not None:
            head.headers.append((b"x-envoy-original-path", head.target))
            head.target = forward.rewrite(head.target)
        if forward.host is not None:
            head.authority = forward.host
        # What came while a filter waited follows when the router has begun.
        whole = self.request_whole and not self._data and self._request_trailers is None
        if forward.mirrors and head.upgrade is None:
            self._copy(forward, whole, now)
        client: Client = self if self._front is None else self._front
        self._front = None  # it refers to us: a cycle would wait for the garbage collector
        router: Router
        if head.upgrade is None:
            router = self._router = Router(client, cluster, forward.retries)
        else:
            raw = forward.end_connect and not head.target
            nonce = context.process.rng.randbytes(16)
            router = self._router = TunnelRouter(client, cluster, forward.retries, raw=raw, nonce=nonce)
        router.request_whole = whole
        self._asked_at = now
        if whole and forward.timeout_s is not None:
            self._timeout_at = min(now + forward.timeout_s, self._limit_at)
        router.start(now)
        if self._timeout_at != NEVER or router.try_deadline != NEVER or forward.idle_timeout_s is not None:
            self._stream.deadline_moved(self.deadline(), now)

    def _meant(self, choice: Choice) -> LiveCluster | None:
        """Where the client's redirected connection was going; None: it is answered, there is no way."""
        original = choice.original
        if original is None:
            self.failed(failures.NO_CLUSTER)
            return None
        destination = self._stream.admission.destination
        if destination is None:
            self.failed(failures.NO_HEALTHY_UPSTREAM)
            return None
        cluster = original.to(destination, self.head.version == "HTTP/2")
        if cluster is None:
            self.failed(failures.OVERFLOW)
        return cluster

    def _may_switch(self, protocol: bytes, forward: BoundForward) -> bool:
        """Whether listener and route let the client leave HTTP."""
        if protocol == b"connect" and self.head.target:
            return False  # the name of a method, not of a protocol
        allowed = forward.upgrades.get(protocol)
        return protocol in self._stream.context.upgrades if allowed is None else allowed

    def switched(self) -> None:
        """The upstream has switched protocols: what comes from now on is passed through, however long it takes."""
        self.tunnel = True
        self._stream.context.counts.upgrades += 1
        self.request_whole = False
        self._timeout_at = self._request_by = NEVER

    def _copy(self, forward: BoundForward, whole: bool, now: float) -> None:
        """Begin the copies that the route's mirrors draw."""
        context = self._stream.context
        draw = context.process.rng.random
        self._mirrors = tuple(
            Mirror(self.head, self.record, cluster, context) for cluster, share in forward.mirrors if draw() < share
        )
        for mirror in self._mirrors:
            mirror.start(whole, now)

    def request_data(self, data: bytes) -> None:
        """A piece of the body. `flush_request` sends what has gathered."""
        self.record.bytes_received += len(data)
        self.activity = self._stream.context.process.clock.monotonic()
        if self._paused:
            self._data.append(data)
            self._look_again()
        elif self._router is not None:
            self._to_router(self._router, data)

    def _to_router(self, router: Router, data: bytes) -> None:
        router.data(data)
        for mirror in self._mirrors:
            mirror.data(data)

    def request_ended(self, trailers: list[Header] | None) -> None:
        """The request is whole."""
        self.request_whole = True
        self._request_trailers = trailers
        if not self._paused:
            self._end_to_router(self._stream.context.process.clock.monotonic())
            if self.tunnel and self._router is not None:
                self._router.tunnel_half_closed()
        else:
            self._look_again()

    def _look_again(self) -> None:
        need = self._need
        if need is not None and isinstance(need.verdict, NeedBody):
            self._gathered(need.verdict)

    def _end_to_router(self, now: float) -> None:
        if self._router is None:
            return
        self._router.end(self._request_trailers)
        for mirror in self._mirrors:
            mirror.end(self._request_trailers)
        self._asked_at = now
        forward = self._forward
        if forward is not None and forward.timeout_s is not None and not self.tunnel:
            # Envoy's route timeout runs from the request's end to the answer's.
            self._timeout_at = min(now + forward.timeout_s, self._limit_at)
            self._stream.deadline_moved(self.deadline(), now)

    def flush_request(self) -> None:
        """Write to the upstream, once for all that came."""
        if self._router is not None:
            self._router.flush()
        for mirror in self._mirrors:
            mirror.flush_request()

    # the router's Client

    def sending(self, endpoint: LiveEndpoint, attempt: int) -> FieldLines:
        context = self._stream.context
        record = self.record
        binding = endpoint.binding
        if binding is None:
            choice = self._choice
            assert choice is not None
            cluster = choice.cluster or choice.original
            assert cluster is not None
            binding = endpoint.binding = context.process.telemetry.upstream(
                cluster.config, endpoint.config, secure=endpoint.secure
            )
        record.upstream = binding
        if attempt > 1:
            self._tried_again(attempt)
        return context.more(attempt, endpoint.secure)

    def _tried_again(self, attempt: int) -> None:
        self.record.attempts = attempt
        stream = self._stream
        now = stream.context.process.clock.monotonic()
        router = self._router
        assert router is not None
        router.try_started(now)
        if router.try_deadline != NEVER:
            stream.deadline_moved(self.deadline(), now)

    def answered(self, head: ResponseHead) -> None:
        now = self.activity = self._stream.context.process.clock.monotonic()
        upstream_s = self.record.upstream_s = now - self._asked_at
        choice = self._choice
        assert choice is not None
        edits = choice.edits.response
        if edits is None:
            self._send_head(head, upstream_s * 1000.0)
        else:
            # The route may want to drop or replace what we say of the upstream.
            head.headers.append((b"x-envoy-upstream-service-time", b"%d" % (upstream_s * 1000.0)))
            edits.apply(head.headers)
            self._send_head(head, NO_SERVICE_TIME)

    def failed(self, failure: Failure) -> None:
        self.record.failure = failure.transport_reason
        self._router = None
        if self._answered:
            self._cut(failure.flag, failure.details)
        else:
            self.refuse(failure)

    def hold_client(self, held: bool) -> None:
        if not self._paused:
            self._stream.hold_client(held)

    # time

    def deadline(self) -> float:
        """When to look again, monotonic seconds."""
        idle_s = self._stream.context.config.stream_idle_timeout_s
        forward = self._forward
        if forward is not None and forward.idle_timeout_s is not None:
            idle_s = forward.idle_timeout_s
        deadline = self.activity + idle_s if idle_s > 0 else NEVER
        router = self._router
        if router is not None and router.try_deadline < deadline:
            deadline = router.try_deadline
        if self._cap_at < deadline:
            deadline = self._cap_at
        if self._request_by < deadline and not self.request_whole:
            deadline = self._request_by
        return self._timeout_at if self._timeout_at < deadline else deadline

    def expired(self, now: float) -> None:
        """Something may have taken too long."""
        router = self._router
        if self._timeout_at <= now:
            if router is not None:
                router.timed_out()
            self._time_out(failures.TIMEOUT if self._timeout_at < self._limit_at else failures.DEADLINE)
        elif self._cap_at <= now:
            self._stream.context.counts.rq_long += 1
            self._time_out(local_reply.DURATION_AFTER_END if self.request_whole else local_reply.DURATION_BEFORE_END)
        elif self._request_by <= now and not self.request_whole:
            self._stream.context.counts.rq_late += 1
            self._time_out(local_reply.REQUEST_TOO_SLOW)
        elif router is not None and router.try_deadline <= now:
            router.try_timed_out()
        elif self.deadline() <= now:
            self._stream.context.counts.rq_idle += 1
            self._time_out(local_reply.IDLE_AFTER_END if self.request_whole else local_reply.IDLE_BEFORE_END)

    def _time_out(self, reply: LocalReply) -> None:
        if self._answered:
            self._cut(reply.flag, reply.details)
            return
        self._let_go()
        self.refuse(reply)

    def __repr__(self) -> str:
        state = "over" if self._over else "answering" if self._answered else "paused" if self._paused else "forwarding"
        return f"<Exchange {self.head!r} {state}>"
