"""Copies of requests whose answers nobody waits for (Envoy `request_mirror_policies`)."""

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.endpoint import LiveEndpoint
from sidecar.filters.client import Client
from sidecar.filters.failures import Failure
from sidecar.filters.router import Router
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.listeners.context import HttpContext
from sidecar.net.timers import NEVER
from sidecar.telemetry.record import RequestRecord

MAX_UNSENT_BYTES = 64 * 1024
"""A copy whose upstream does not take it is given up: it must not hold the original up."""

TIMEOUT_S = 15.0
"""A copy that takes longer is given up."""


class Mirror(Client):
    """One copy: the router's Client that drops what comes back. It is neither recorded nor traced."""

    __slots__ = ("_context", "_router", "deadline", "look_at")

    def __init__(
        self, original: RequestHead, record: RequestRecord, cluster: LiveCluster, context: HttpContext
    ) -> None:
        name, colon, port = original.authority.rpartition(b":")
        # Envoy marks the copy's host, so that its receiver can tell it from a real request.
        authority = name + b"-shadow:" + port if colon and port.isdigit() else original.authority + b"-shadow"
        self.head = RequestHead(
            original.method,
            original.target,
            authority,
            original.headers.copy(),
            original.scheme,
            original.version,
            original.length,
        )
        self.record = RequestRecord(
            record.downstream, record.started, original.method, original.target, authority, original.version
        )
        self.deadline = NEVER
        self.look_at = NEVER
        self._context = context
        self._router: Router | None = Router(self, cluster, None)

    def start(self, whole: bool, now: float) -> None:
        """Send the copy. `whole`: the request has no body to come."""
        router = self._router
        assert router is not None
        router.request_whole = whole
        router.start(now)
        if self._router is not None:
            self.deadline = now + TIMEOUT_S
            self._context.process.timers.watch(self, now)

    def data(self, data: bytes) -> None:
        """A piece of the body."""
        router = self._router
        if router is not None:
            router.data(data)
            if router.unsent_bytes > MAX_UNSENT_BYTES:
                self.give_up()

    def end(self, trailers: list[Header] | None) -> None:
        """The request is whole."""
        if self._router is not None:
            self._router.end(trailers)

    def flush_request(self) -> None:
        """Write what has gathered."""
        if self._router is not None:
            self._router.flush()

    def give_up(self) -> None:
        """Stop copying."""
        router = self._router
        if router is not None:
            self._end()
            router.cancel()

    def expired(self, now: float) -> None:
        self.give_up()

    def _end(self) -> None:
        self._router = None
        self.deadline = NEVER

    # the router's Client

    def sending(self, endpoint: LiveEndpoint, attempt: int) -> FieldLines:
        return self._context.more(attempt, endpoint.secure)

    def informed(self, head: ResponseHead) -> None:
        """Dropped."""

    def answered(self, head: ResponseHead) -> None:
        """Dropped."""

    def answer_data(self, data: bytes) -> None:
        """Dropped."""

    def answer_trailers(self, trailers: list[Header]) -> None:
        """Dropped."""

    def answer_shut(self) -> None:
        """Never: what asks for a switch of protocols is not copied."""

    def answer_ended(self) -> None:
        self._end()

    def flush(self) -> None:
        """Nothing is gathered."""

    def failed(self, failure: Failure) -> None:
        self._end()

    def hold_client(self, held: bool) -> None:
        """The original is not slowed down; see MAX_UNSENT_BYTES. A connection that blocks ends the copy."""
        if held:
            self.give_up()
