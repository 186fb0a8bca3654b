"""The half of a client's HTTP/1.1 connection that writes: answers framed as the request's version and method ask."""

from typing import TYPE_CHECKING

from sidecar.http.h1_render import (
    chunk,
    decimal,
    informational_head,
    last_chunk,
    response_head,
    switching_head,
    tunnel_head,
)
from sidecar.http.head import CHUNKED, UNTIL_CLOSE, Header, ResponseHead
from sidecar.listeners.client_stream import ClientStream

if TYPE_CHECKING:
    import asyncio

    from sidecar.listeners.answer import Answer


class H1Writer(ClientStream):
    """`_last`: the connection ends with the present answer."""

    __slots__ = ("_chunked", "_last", "_out", "transport")

    # Known once the connection is made.
    transport: "asyncio.Transport"

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._chunked = False
        self._last = False

    def send_informational(self, head: ResponseHead) -> None:
        self._out.append(informational_head(head.status, head.headers))

    def send_head(self, answer: "Answer", head: ResponseHead, upstream_ms: float) -> None:
        request = answer.head
        context = self.context
        if head.upgrade is not None:
            if head.status == 101:
                self._out.append(switching_head(head.upgrade, head.headers))
            else:
                self._out.append(tunnel_head(head.status, head.headers, context.server_line))
            self._chunked = False
            self._last = True
            self.switch()
            return
        length = head.length
        # Behind a refused CONNECT nothing more is read: it is not known whether the client meant it for us.
        last = request.close or context.ends or not answer.request_whole or request.upgrade == b"connect"
        self._chunked = False
        if length < 0 and not answer.bodyless:
            if request.version == "HTTP/1.1":
                self._chunked = True
                length = CHUNKED
            else:
                length = UNTIL_CLOSE
                last = True
        self._last = last
        more = context.server_line
        if upstream_ms >= 0.0:
            more = b"x-envoy-upstream-service-time: %b\r\n%b" % (decimal(int(upstream_ms)), more)
        self._out.append(response_head(head.status, head.headers, length, last, more))

    def send_data(self, data: bytes) -> None:
        self._out.append(chunk(data) if self._chunked else data)

    def send_end(self, trailers: list[Header] | None) -> None:
        out = self._out
        if self._chunked:
            out.append(last_chunk(trailers))
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.transport.write(data)

    def flush(self) -> bool:
        out = self._out
        if not out:
            return False
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self.transport.write(data)
        return True

    def shut(self) -> None:
        self.flush()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def switch(self) -> None:
        """What the client sends from now on is passed through."""
        raise NotImplementedError

    def cut(self) -> None:
        if not self.transport.is_closing():
            self.flush()
        self.abort()

    def abort(self) -> None:
        """Cut the connection with a reset."""
        raise NotImplementedError
