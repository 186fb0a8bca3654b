"""The request's half of the router: what is still to be sent, what has been and may have to be sent again."""

from typing import Final

from sidecar.clusters.losses import REFUSED, Loss
from sidecar.clusters.upstream import HIGH_WATER_BYTES, Holder, UpstreamStream
from sidecar.filters.client import Client
from sidecar.http.field_lines import NO_FIELDS
from sidecar.http.fields import idempotent
from sidecar.http.head import Header
from sidecar.net.timers import NEVER

MAX_REPLAY_BYTES: Final = 64 * 1024
"""A longer body is not kept, and its request not sent again once any of it was sent."""


class Sending(Holder):
    """Without a stream the body gathers in `_unsent`; with one it passes through, and `_body` keeps the beginning."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_client",
        "_done",
        "_held_client",
        "_more",
        "_repeatable",
        "_sent",
        "_trailers",
        "_unsent",
        "_unsent_bytes",
        "request_whole",
        "stream",
        "try_deadline",
    )

    def __init__(self, client: Client) -> None:
        self._client = client
        self._repeatable = idempotent(client.head.method)
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._body: list[bytes] | None = []
        self._body_bytes = 0
        self._trailers: list[Header] | None = None
        self._more = NO_FIELDS
        self._sent = False
        self._held_client = False
        self._done = False
        self.stream: UpstreamStream | None = None
        self.request_whole = False
        self.try_deadline = NEVER
        """When this try is given up, monotonic seconds; whoever keeps time calls `try_timed_out`."""

    def data(self, data: bytes) -> None:
        """A piece of the request's body. `flush` sends it."""
        if self._done:
            return
        if self._body is not None:
            self._keep(data)
        stream = self.stream
        if stream is not None:
            stream.send_data(data)
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > HIGH_WATER_BYTES:
            self._hold_client(True)

    def end(self, trailers: list[Header] | None) -> None:
        """The request is whole. `flush` sends what is left."""
        self.request_whole = True
        self._trailers = trailers
        if self.stream is not None:
            self.stream.send_end(trailers)

    def flush(self) -> None:
        """Write what has gathered: one write for head and body."""
        stream = self.stream
        if stream is not None:
            stream.flush()

    @property
    def unsent_bytes(self) -> int:
        """Of the body, waiting for a stream."""
        return self._unsent_bytes

    def connected(self, stream: UpstreamStream) -> None:
        # The stream may itself hold the client as soon as it is written to: the client is let go only after, or it
        # would be told to send a window more than there is room for.
        held = self._held_client
        self._held_client = False
        self._begin(stream)
        stream.flush()
        if held and not self._held_client:
            self._client.hold_client(False)

    def upstream_blocked(self, blocked: bool) -> None:
        self._hold_client(blocked)

    def _begin(self, stream: UpstreamStream) -> None:
        """Hand over what there is of the request so far."""
        self.stream = stream
        self._sent = True
        unsent = self._unsent
        whole = self.request_whole
        if not unsent and self._trailers is None:
            stream.begin(self, self._client.head, self._more, whole)
            return
        stream.begin(self, self._client.head, self._more, False)
        self._unsent = []
        self._unsent_bytes = 0
        for data in unsent:
            stream.send_data(data)
        if whole:
            stream.send_end(self._trailers)

    def _keep(self, data: bytes) -> None:
        """Remember the body for another try, unless it is too much."""
        self._body_bytes += len(data)
        if self._body_bytes > MAX_REPLAY_BYTES:
            self._body = None
        elif self._body is not None:
            self._body.append(data)

    def _rewind(self, loss: Loss) -> bool:
        """Be ready to send the request again from its beginning. False: that might do harm, or it is not all there."""
        if not self._sent:
            return True  # none of it has left
        body = self._body
        if body is None or not (self._repeatable or loss is REFUSED):
            return False
        self._unsent = body.copy()
        self._unsent_bytes = self._body_bytes
        self._sent = False
        return True

    def _forget_request(self) -> None:
        self._unsent = []
        self._body = None

    def _hold_client(self, held: bool) -> None:
        if held != self._held_client:
            self._held_client = held
            self._client.hold_client(held)
