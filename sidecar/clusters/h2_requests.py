"""One stream of an HTTP/2 connection to an endpoint: a request becomes frames, its back-pressure windows."""

from typing import TYPE_CHECKING

from sidecar.clusters.losses import REFUSED, Loss
from sidecar.clusters.upstream import AnswerEvent, Holder, UpstreamStream
from sidecar.http.errors import ProtocolError
from sidecar.http.field_lines import FieldLines
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.outbound import LOW_WATER
from sidecar.http.h2_messages import request_fields
from sidecar.http.head import Header, RequestHead

if TYPE_CHECKING:
    from sidecar.clusters.h2_upstream import H2Upstream


class H2UpstreamStream(UpstreamStream):
    """A piece of the body waits for the next, so that END_STREAM needs no frame of its own."""

    __slots__ = (
        "_blocks",
        "_connection",
        "_data",
        "_held",
        "_holder",
        "answering",
        "connect",
        "credit",
        "id",
        "upgrade",
    )

    def __init__(self, connection: "H2Upstream") -> None:
        self._connection = connection
        self._holder: Holder | None = None
        self.id = 0
        """0 until the request begins."""
        self.answering = False
        """Something of the answer has come."""
        self.credit = 0
        """Octets of the answer that came and have not been reported as consumed."""
        self._data = b""
        self._held = False
        self._blocks = False
        self.upgrade: bytes | None = None
        """What the request wants to leave HTTP for ..."""
        self.connect = False
        """... by a CONNECT of its own."""

    # the request

    def begin(self, holder: Holder, head: RequestHead, more: FieldLines, whole: bool) -> None:
        connection = self._connection
        self._holder = holder
        if head.upgrade is not None:
            self.upgrade = head.upgrade
            self.connect = not head.target
            whole = False  # what follows is no body
            if not (self.connect or connection.codec.peer_connect_protocol):
                connection.soon(self._not_offered)
                return
        self.id = connection.codec.open_stream(request_fields(head, more), whole)
        if self.id:
            connection.begun(self)
            connection.write_soon()
        else:  # it has gone since it was chosen
            connection.soon(self._refused)

    def _refused(self) -> None:
        self.lose(REFUSED)

    def _not_offered(self) -> None:
        """The endpoint has not announced extended CONNECT (RFC 8441 3): it would not know what is asked of it."""
        self.fail(ProtocolError(502, "http2.extended_connect_not_offered", "the upstream offers no extended CONNECT"))

    def switch(self) -> None:
        """The stream's frames are the tunnel."""

    def send_data(self, data: bytes) -> None:
        if self._data:
            self._connection.codec.send_data(self.id, self._data, False)
        self._data = data

    def send_end(self, trailers: list[Header] | None) -> None:
        codec = self._connection.codec
        if trailers:
            if self._data:
                codec.send_data(self.id, self._data, False)
            codec.send_headers(self.id, trailers, True)
        else:
            codec.send_data(self.id, self._data, True)
        self._data = b""

    def flush(self) -> None:
        connection = self._connection
        if self._data:
            connection.codec.send_data(self.id, self._data, False)
            self._data = b""
        connection.write_soon()
        if not self._blocks and (connection.blocked or connection.codec.queued(self.id) > connection.buffer_bytes):
            self._blocks = True
            if self._holder is not None:
                self._holder.upstream_blocked(True)

    def writable(self) -> None:
        """The connection or the stream's window takes more again."""
        connection = self._connection
        # The codec says once that little is left; what little is to us may be less.
        most = max(connection.buffer_bytes, LOW_WATER)
        if self._blocks and not connection.blocked and connection.codec.queued(self.id) <= most:
            self._blocks = False
            if self._holder is not None:
                self._holder.upstream_blocked(False)

    # the answer

    def deliver(self, events: list[AnswerEvent]) -> None:
        """What came; windows open again as far as the holder takes it."""
        self.answering = True
        holder = self._holder
        if holder is not None:
            holder.upstream_events(events)
        if self.credit and not self._held:
            self._took()

    def _took(self) -> None:
        self._connection.codec.consumed(self.id, self.credit)
        self.credit = 0

    def hold(self, held: bool) -> None:
        self._held = held
        if not held and self.credit:
            self._took()
            self._connection.write_soon()

    # the end

    def finished(self, whole: bool) -> None:
        if not whole:
            self._connection.codec.reset(self.id, ErrorCode.CANCEL)
            self._connection.write_soon()
        self._over()

    def discard(self) -> None:
        self._connection.codec.reset(self.id, ErrorCode.CANCEL)
        self._connection.write_soon()
        self._over()

    def lose(self, loss: Loss) -> None:
        """The endpoint has ended it, or is gone."""
        holder = self._holder
        self._over()
        if holder is not None:
            holder.upstream_lost(loss)

    def fail(self, error: ProtocolError) -> None:
        """The endpoint broke the protocol; the holder gives the stream up."""
        if self._holder is not None:
            self._holder.upstream_events([error])

    def _over(self) -> None:
        self._holder = None
        self._connection.drop(self)

    def __repr__(self) -> str:
        return f"<H2UpstreamStream {self.id} {'held' if self._holder is not None else 'over'}>"
