"""What is remembered of one tapped request while it is under way: heads as they are, bodies up to a bound."""

from sidecar.config.listener import Direction
from sidecar.config.tap import TappedMessage, TapRecord
from sidecar.http.head import CHUNKED, Header, RequestHead
from sidecar.telemetry.record import RequestRecord

OVERHEAD_BYTES = 4096
"""What a recording is reckoned to hold besides bodies."""


class Budget:
    """Bytes that the recordings of a process may hold together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """False if there is no room."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True


class Body:
    """The beginning of a body, its size, and when it came."""

    __slots__ = ("began", "ended", "kept", "parts", "size", "whole")

    def __init__(self, began: float) -> None:
        self.parts: list[bytes] = []
        self.kept = 0
        self.size = 0
        self.whole = False
        self.began = began
        self.ended = began

    def message(self, headers: tuple[Header, ...], trailers: tuple[Header, ...], limit: int) -> TappedMessage:
        """With at most `limit` bytes of the body."""
        body = b"".join(self.parts)[:limit]
        return TappedMessage(headers, body, self.size, self.whole, self.began, self.ended, trailers)


class Recording:
    """One request. Whoever serves it tells what happens, in order; `taken` says what it holds of the budget."""

    __slots__ = (
        "_answer",
        "_answer_headers",
        "_answer_trailers",
        "_budget",
        "_direction",
        "_head",
        "_limit",
        "_offset",
        "_request",
        "_request_headers",
        "_request_trailers",
        "_taken",
        "_target",
        "_version",
        "lost",
    )  # fmt: skip

    def __init__(self, head: RequestHead, direction: Direction, limit: int, budget: Budget, offset: float) -> None:
        """`limit`: bytes to keep of each body. `offset`: from the monotonic clock to the Unix epoch, seconds."""
        self._head = (head.method, head.scheme, head.authority)
        self._target = head.target
        self._version = head.version
        self._direction = direction
        self._limit = limit
        self._budget = budget
        self._offset = offset
        self._taken = OVERHEAD_BYTES
        self._request_headers = _as_received(head)
        self._request_trailers: tuple[Header, ...] = ()
        self._request = Body(0.0)
        self._answer: Body | None = None
        self._answer_headers: tuple[Header, ...] = ()
        self._answer_trailers: tuple[Header, ...] = ()
        self.lost = False
        """There was no room for all of it: to be counted, not shown."""

    # what happens, with the monotonic clock's time

    def began(self, now: float) -> None:
        """The request's head is there."""
        self._request = Body(now + self._offset)

    def request_data(self, data: bytes) -> None:
        self._keep(self._request, data)

    def request_ended(self, now: float, trailers: tuple[Header, ...] = ()) -> None:
        self._request.whole = True
        self._request.ended = now + self._offset
        self._request_trailers = trailers

    def switched(self) -> None:
        """The protocols were switched: what the client sends from now on is kept like a body, to its own end."""
        self._request.whole = False

    def answered(self, headers: tuple[Header, ...], now: float) -> None:
        """The answer's head leaves, an upstream's or our own."""
        self._answer = Body(now + self._offset)
        self._answer_headers = headers

    def answer_data(self, data: bytes) -> None:
        if self._answer is not None:
            self._keep(self._answer, data)

    def answer_trailers(self, trailers: tuple[Header, ...]) -> None:
        self._answer_trailers = trailers

    def ended(self, now: float, *, whole: bool) -> None:
        """The request is over. `whole`: the answer is complete."""
        ended = now + self._offset
        if self._answer is not None:
            self._answer.ended = ended
            self._answer.whole = whole
        if not self._request.whole:
            self._request.ended = ended

    def render(self, record: RequestRecord, limit: int) -> TapRecord:
        """All of it, with at most `limit` bytes of each body."""
        method, scheme, authority = self._head
        answer = self._answer
        upstream = record.upstream
        target = record.target
        return TapRecord(
            direction=self._direction,
            method=method,
            scheme=scheme,
            authority=authority,
            target=self._target,
            version=self._version,
            request=self._request.message(self._request_headers, self._request_trailers, limit),
            status=record.status,
            answer=answer.message(self._answer_headers, self._answer_trailers, limit) if answer is not None else None,
            flags=record.flags,
            details=record.details,
            failure=record.failure,
            client=record.downstream.remote,
            peer=record.downstream.principal,
            upstream=upstream.address if upstream is not None else None,
            upstream_s=record.upstream_s,
            cluster=target.cluster if target is not None else None,
            route=target.route if target is not None else None,
            attempts=record.attempts,
            request_id=record.request_id,
            trace_id=record.trace.trace_id if record.trace is not None else b"",
        )

    def release(self) -> None:
        """Give the room back."""
        self._budget.held -= self._taken
        self._taken = 0

    def _keep(self, body: Body, data: bytes) -> None:
        body.size += len(data)
        room = self._limit - body.kept
        if room <= 0 or self.lost:
            return
        part = bytes(data[:room])
        if not self._budget.take(len(part)):
            self.lost = True
            return
        self._taken += len(part)
        body.kept += len(part)
        body.parts.append(part)


def _as_received(head: RequestHead) -> tuple[Header, ...]:
    """The fields that the codec took apart, put back: the proxy's own, those that frame the body, and those that ask to
    leave HTTP, as HTTP/1.1 writes them."""
    fields = [*head.headers, *head.ours.items()]
    if head.upgrade is not None and head.target:
        fields += [(b"connection", b"upgrade"), (b"upgrade", head.upgrade)]
    if head.version.startswith("HTTP/1"):
        fields.insert(0, (b"host", head.authority))
        if head.length == CHUNKED:
            fields.append((b"transfer-encoding", b"chunked"))
    if head.length > 0:
        fields.append((b"content-length", b"%d" % head.length))
    return tuple(fields)
