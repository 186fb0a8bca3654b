"""A stream of a client's HTTP/2 connection that leaves HTTP: CONNECT, or what RFC 8441 has in an upgrade's place.

What the client sends before the answer waits here, within the stream's window, and goes on only if the tunnel is
granted.
"""

from typing import TYPE_CHECKING

from sidecar.http.h2.errors import ErrorCode
from sidecar.http.head import Header, ResponseHead
from sidecar.listeners.h2_stream import H2ClientStream

if TYPE_CHECKING:
    from sidecar.listeners.answer import Answer
    from sidecar.listeners.h2_link import H2Link


class TunnelStream(H2ClientStream):
    """States: asked, granted, each way open until its end; or refused, which is an answer like any other."""

    __slots__ = ("_early", "_ended", "_granted", "_shut")

    def __init__(self, connection: "H2Link", number: int, ended: bool) -> None:
        """`ended`: the client sends nothing more."""
        super().__init__(connection, number)
        self._early: list[bytes] = []
        self._ended = ended
        self._granted = False
        self._shut = False

    # the request

    def request_data(self, data: bytes) -> None:
        if self._granted:
            super().request_data(data)
        else:
            self._early.append(data)

    def request_ended(self) -> None:
        self._ended = True
        if self._granted:
            super().request_ended()

    def took(self) -> None:
        # Before the answer the window stays as it is: it is the bound of what waits.
        if self._granted:
            super().took()

    # the answer

    def send_head(self, answer: "Answer", head: ResponseHead, upstream_ms: float) -> None:
        if head.upgrade is None:
            self._early.clear()
            super().send_head(answer, head, upstream_ms)
            return
        # RFC 8441 5: 200 is HTTP/2's word for 101.
        granted = ResponseHead(200 if head.status == 101 else head.status, head.headers, length=head.length)
        super().send_head(answer, granted, upstream_ms)
        self._grant()

    def _grant(self) -> None:
        self._granted = True
        exchange = self.exchange
        assert exchange is not None
        exchange.switched()
        early, self._early = self._early, []
        for data in early:
            exchange.request_data(data)
        if self._ended:
            exchange.request_ended(None)
        exchange.flush_request()
        self.took()

    def shut(self) -> None:
        self.flush()
        self._shut = True
        self._connection.codec.send_data(self.id, b"", True)
        self._connection.write_soon()

    def send_end(self, trailers: list[Header] | None) -> None:
        if self._shut:
            self._connection.write_soon()
        else:
            super().send_end(trailers)

    def cut(self) -> None:
        exchange = self.exchange
        if not self._granted or exchange is None or exchange.head.target:
            super().cut()
            return
        # RFC 9113 8.5: whatever is wrong with the connection that a CONNECT stands for.
        self._fields = None
        self._data = b""
        self._connection.codec.reset(self.id, ErrorCode.CONNECT_ERROR)
        self._connection.write_soon()

    def over(self, now: float) -> None:
        exchange = self.exchange
        if exchange is not None and not self._ended:
            exchange.request_whole = False  # a refusal: the client need not go on with its side
        super().over(now)
