"""One HTTP/1.1 connection to an endpoint: it carries one request at a time, then goes back to its pool."""

import socket
from typing import TYPE_CHECKING, Any

from sidecar.clusters.losses import CLOSED, STALE
from sidecar.clusters.upstream import Holder, Owner, UpstreamStream
from sidecar.http.field_lines import FieldLines
from sidecar.http.h1_render import LAST_CHUNK, chunk, last_chunk, request_head, upgrade_fields
from sidecar.http.h1_response import ResponseReader
from sidecar.http.head import CHUNKED, Header, RequestHead, ResponseHead
from sidecar.net.outbox import gathering
from sidecar.net.peer import PeerRefused
from sidecar.net.timers import MAX_LOOK_S, NEVER

if TYPE_CHECKING:
    import asyncio


class UpstreamConnection(UpstreamStream):
    """Its states: opening, held (`holder` set), idle (in its pool), closing. The loop's Protocol by its methods."""

    __slots__ = (
        "_answering",
        "_chunked",
        "_held",
        "_out",
        "_sock",
        "_tunnel",
        "deadline",
        "holder",
        "idle_until",
        "keep_alive_s",
        "local",
        "look_at",
        "owner",
        "reader",
        "refused",
        "remote",
        "requests",
        "seen_requests",
        "transport",
    )

    # Known once the connection is made.
    transport: "asyncio.Transport"

    def __init__(self, owner: Owner, sock: socket.socket, remote: str) -> None:
        self.owner = owner
        self._sock = sock
        self._out: list[bytes] = []
        self._chunked = False
        self._tunnel = False
        self._answering = False
        """The upstream has closed, inside an answer."""
        self.remote = remote
        """The endpoint's `host:port`."""
        self.local = ""
        self.reader = ResponseReader()
        self.holder: Holder | None = None
        self._held = False
        self.requests = 0
        """Requests sent, the present one included."""
        self.keep_alive_s: float | None = None
        self.refused: PeerRefused | None = None
        """Why the peer's certificate does not do; the connection is being aborted."""
        self.seen_requests = -1
        """`requests` when the wheel looked last."""
        self.idle_until = NEVER
        """If it is not used before."""
        self.deadline = NEVER
        self.look_at = NEVER

    # one request

    def begin(self, holder: Holder, head: RequestHead, more: FieldLines, whole: bool) -> None:
        self.holder = holder
        self.requests += 1
        self.reader.expect(head.method, head.upgrade)
        self._chunked = head.length == CHUNKED
        lines = more.lines
        target = head.target
        if head.upgrade is not None:
            if target:
                lines += upgrade_fields(head.upgrade)
            else:  # CONNECT
                target = head.authority
        rendered = request_head(head.method, target, head.authority, head.headers, head.length, lines)
        if whole:
            self.transport.write(rendered + LAST_CHUNK if self._chunked else rendered)
        else:
            self._out.append(rendered)

    def send_data(self, data: bytes) -> None:
        self._out.append(chunk(data) if self._chunked else data)

    def send_end(self, trailers: list[Header] | None) -> None:
        if self._chunked:
            self._out.append(last_chunk(trailers))
        elif self._tunnel and not self.transport.is_closing():
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
        self._held = held
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def switch(self) -> None:
        self._tunnel = True

    def heed(self, head: ResponseHead) -> None:
        self.keep_alive_s = head.keep_alive_s
        if head.close:
            self.reader.reusable = False

    def finished(self, whole: bool) -> None:
        if whole:
            if self._held:
                # Whoever held the answer back has got all of it at once; the next must not wait.
                self.hold(False)
            self.owner.freed(self)
        else:
            self.discard()

    def discard(self) -> None:
        self.holder = None
        self.owner.gone(self)
        self.transport.abort()

    # the connection

    def close(self) -> None:
        """Close it once what is written has left."""
        self.owner.gone(self)
        self.transport.close()

    @property
    def closing(self) -> bool:
        return self.transport.is_closing()

    def went_stale(self) -> bool:
        """Ask the kernel whether the peer has closed or sent what nobody asked for. One system call."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) is not None
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def connection_made(self, transport: Any) -> None:
        self.transport = gathering(transport, self.owner.outbox)
        transport.set_write_buffer_limits(high=self.owner.buffer_bytes)
        host, port = transport.get_extra_info("sockname")[:2]
        self.local = f"{host}:{port}"
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self.owner.verify(tls)
            except PeerRefused as error:
                self.refused = error
                transport.abort()

    def data_received(self, data: bytes) -> None:
        holder = self.holder
        events = self.reader.receive(data)
        if holder is not None:
            holder.upstream_events(events)
        else:
            self.close()  # an answer to nothing

    def eof_received(self) -> bool:
        holder = self.holder
        self._answering = self.reader.answering
        events = self.reader.end_of_stream()
        if holder is not None and events and not isinstance(events[-1], Exception):
            holder.upstream_events(events)
        # What is incomplete is reported by connection_lost, which follows. In a tunnel our direction stays open.
        return self._tunnel and self.holder is not None

    def connection_lost(self, error: Exception | None) -> None:
        holder = self.holder
        self.holder = None
        self.owner.gone(self)
        if holder is not None:
            untouched = not self._answering and not self.reader.answering
            holder.upstream_lost(STALE if untouched and self.requests > 1 else CLOSED)

    def pause_writing(self) -> None:
        if self.holder is not None:
            self.holder.upstream_blocked(True)

    def resume_writing(self) -> None:
        if self.holder is not None:
            self.holder.upstream_blocked(False)

    def expired(self, now: float) -> None:
        """The wheel looks: close what was not used for too long."""
        if self.transport.is_closing():
            return
        if self.holder is not None or self.requests != self.seen_requests:
            self.owner.watch(self, now, now - MAX_LOOK_S)
        elif now >= self.idle_until:
            self.close()
        else:
            self.deadline = self.idle_until
            self.owner.rewatch(self, now)

    def __repr__(self) -> str:
        state = "held" if self.holder is not None else "idle"
        return f"<UpstreamConnection to {self.remote} {state}, {self.requests} requests>"
