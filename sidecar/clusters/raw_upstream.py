"""One connection to an endpoint that carries the bytes of one tunnel: a CONNECT that ends here (RFC 9110 9.3.6).

There is no request on it and no answer: that the connection is there is the answer.
"""

import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from sidecar.clusters.losses import CLOSED
from sidecar.clusters.upstream import Holder, Owner, UpstreamStream
from sidecar.http.field_lines import FieldLines
from sidecar.http.head import END, UNTIL_CLOSE, Header, RequestHead, ResponseHead
from sidecar.net.outbox import gathering
from sidecar.net.peer import PeerRefused

if TYPE_CHECKING:
    import asyncio

CONNECT: Final = b"connect"
"""As a head's `upgrade`."""

EARLY_BYTES: Final = 64 * 1024
"""Of a server that speaks first, before the tunnel is known to be wanted still; then it is not read from."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class RawUpstream(UpstreamStream):
    """States: made, held (`holder` set), closing. The loop's Protocol by its methods."""

    __slots__ = ("_early", "_early_bytes", "_ended", "_out", "holder", "owner", "refused", "remote", "transport")

    # Known once the connection is made.
    transport: "asyncio.Transport"

    def __init__(self, owner: Owner, remote: str) -> None:
        self.owner = owner
        self.remote = remote
        """The endpoint's `host:port`."""
        self.holder: Holder | None = None
        self.refused: PeerRefused | None = None
        """Why the peer's certificate does not do; the connection is being aborted."""
        self._out: list[bytes] = []
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._ended = False
        """The endpoint has said that nothing follows."""

    # the tunnel

    def begin(self, holder: Holder, head: RequestHead, more: FieldLines, whole: bool) -> None:
        self.holder = holder
        answer = ResponseHead(200, [], length=UNTIL_CLOSE)
        answer.upgrade = CONNECT
        early, self._early = self._early, []
        holder.upstream_events([answer, *early, END] if self._ended else [answer, *early])
        if self._early_bytes > EARLY_BYTES:
            self.hold(False)

    def send_data(self, data: bytes) -> None:
        self._out.append(data)

    def send_end(self, trailers: list[Header] | None) -> None:
        if not self.transport.is_closing():
            self.flush()
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def flush(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.transport.write(data)

    def hold(self, held: bool) -> None:
        if self.transport.is_closing():
            return
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def switch(self) -> None:
        """It never was anything else."""

    def finished(self, whole: bool) -> None:
        if whole:
            self.holder = None
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """With a reset: what has come of the tunnel's bytes must not pass for all of them."""
        self.holder = None
        self.owner.lost(self)
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            except OSError:  # closed already
                pass
        self.transport.abort()

    # the connection

    def close(self) -> None:
        """Close it once what is written has left."""
        self.owner.lost(self)
        self.transport.close()

    @property
    def closing(self) -> bool:
        return self.transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        self.transport = gathering(transport, self.owner.outbox)
        transport.set_write_buffer_limits(high=self.owner.buffer_bytes)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self.owner.verify(tls)
            except PeerRefused as error:
                self.refused = error
                transport.abort()

    def data_received(self, data: bytes) -> None:
        holder = self.holder
        if holder is not None:
            holder.upstream_events([data])
            return
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes > EARLY_BYTES:
            self.hold(True)

    def eof_received(self) -> bool:
        self._ended = True
        if self.holder is not None:
            self.holder.upstream_events([END])
        return True  # our direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        holder = self.holder
        self.holder = None
        self.owner.lost(self)
        if holder is not None:
            holder.upstream_lost(CLOSED)

    def pause_writing(self) -> None:
        if self.holder is not None:
            self.holder.upstream_blocked(True)

    def resume_writing(self) -> None:
        if self.holder is not None:
            self.holder.upstream_blocked(False)

    def __repr__(self) -> str:
        return f"<RawUpstream to {self.remote} {'held' if self.holder is not None else 'made or closing'}>"
