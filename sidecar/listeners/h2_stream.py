"""One stream of a client's HTTP/2 connection: an exchange's answer becomes frames, its back-pressure windows.

A head waits for what follows it and a piece of the body for the next, so that END_STREAM needs no frame of its own.
"""

from typing import TYPE_CHECKING

from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.outbound import LOW_WATER
from sidecar.http.h2_messages import informational_fields, response_fields
from sidecar.http.head import Header, ResponseHead
from sidecar.listeners.client_stream import ClientStream

if TYPE_CHECKING:
    from sidecar.listeners.answer import Answer
    from sidecar.listeners.exchange import Exchange
    from sidecar.listeners.h2_link import H2Link


class H2ClientStream(ClientStream):
    """`id`: the stream's number; `exchange` is None once it is over."""

    __slots__ = ("_connection", "_data", "_fields", "_held", "_holds", "credit", "exchange", "id")

    def __init__(self, connection: "H2Link", number: int) -> None:
        self.context = connection.context
        self.admission = connection.admission
        self.binding = connection.binding
        self.peer = connection.peer
        self.id = number
        self.exchange: Exchange | None = None
        self.credit = 0
        """Octets of the request that came and have not been reported as consumed."""
        self._connection = connection
        self._fields: list[Header] | None = None
        self._data = b""
        self._held = False
        self._holds = False

    # the answer

    def send_informational(self, head: ResponseHead) -> None:
        self._connection.codec.send_headers(self.id, informational_fields(head), False)

    def send_head(self, answer: "Answer", head: ResponseHead, upstream_ms: float) -> None:
        self._fields = response_fields(head, self.context.server_field, upstream_ms)

    def send_data(self, data: bytes) -> None:
        if self._fields is not None or self._data:
            self._put()
        self._data = data

    def send_end(self, trailers: list[Header] | None) -> None:
        codec = self._connection.codec
        fields = self._fields
        if trailers:
            if fields is not None or self._data:
                self._put()
            codec.send_headers(self.id, trailers, True)
        elif fields is None:
            codec.send_data(self.id, self._data, True)
        elif self._data:
            codec.send_headers(self.id, fields, False)
            codec.send_data(self.id, self._data, True)
        else:
            codec.send_headers(self.id, fields, True)
        self._fields = None
        self._data = b""
        self._connection.write_soon()

    def flush(self) -> bool:
        if self._fields is None and not self._data:
            self._connection.write_soon()  # a 1xx head, maybe
            return False
        self._put()
        connection = self._connection
        connection.write_soon()
        if not self._holds and (
            connection.blocked or connection.codec.queued(self.id) > self.context.config.buffer_bytes
        ):
            self._holds = True
            if self.exchange is not None:
                self.exchange.hold_upstream(True)
        return True

    def _put(self) -> None:
        codec = self._connection.codec
        if self._fields is not None:
            codec.send_headers(self.id, self._fields, False)
            self._fields = None
        if self._data:
            codec.send_data(self.id, self._data, False)
            self._data = b""

    def writable(self) -> None:
        """The connection or the stream's window takes more again."""
        if (
            self._holds
            and not self._connection.blocked
            # The codec says once that little is left; what little is to us may be less.
            and self._connection.codec.queued(self.id) <= max(self.context.config.buffer_bytes, LOW_WATER)
        ):
            self._holds = False
            if self.exchange is not None:
                self.exchange.hold_upstream(False)

    def cut(self) -> None:
        self._fields = None
        self._data = b""
        self._connection.codec.reset(self.id, ErrorCode.INTERNAL_ERROR)
        self._connection.write_soon()

    def over(self, now: float) -> None:
        self.context.in_flight -= 1
        self._connection.stream_over(self, now)

    # the request

    def request_data(self, data: bytes) -> None:
        """A piece of the body, for the exchange."""
        if self.exchange is not None:
            self.exchange.request_data(data)

    def request_ended(self) -> None:
        """The client sends no more, for the exchange."""
        if self.exchange is not None:
            self.exchange.request_ended(None)

    def report(self) -> None:
        """Telemetry is about to be flushed: tell it what is known of a request that goes on."""

    def gone(self) -> None:
        """The client has ended the stream; the exchange is about to be recorded."""

    def hold_client(self, held: bool) -> None:
        self._held = held
        if not held and self.credit:
            self.took()
            self._connection.write_soon()

    def took(self) -> None:
        """What has come of the request has been passed on, unless the upstream takes no more."""
        if self.credit and not self._held:
            self._connection.codec.consumed(self.id, self.credit)
            self.credit = 0

    def deadline_moved(self, deadline: float, now: float) -> None:
        self._connection.expect(deadline, now)

    def __repr__(self) -> str:
        return f"<H2ClientStream {self.id} {self.exchange or 'over'}>"
