"""One HTTP/1.1 connection to an endpoint: bytes to events for the request that holds it, then back to its pool."""

import asyncio
import socket
import ssl
from typing import Any, Protocol

from sidecar.http.h1_response import ResponseEvent, ResponseReader
from sidecar.net.peer import PeerRefused
from sidecar.net.timers import MAX_LOOK_S, NEVER

HIGH_WATER_BYTES = 64 * 1024
"""More than this unsent pauses the client's side; a quarter of it resumes."""


class Holder(Protocol):
    """A request that has the connection to itself."""

    def upstream_events(self, events: list[ResponseEvent]) -> None:
        """What arrived, in order."""

    def upstream_lost(self, error: Exception | None) -> None:
        """The connection is gone before the answer's end; it is not this request's any more."""

    def upstream_blocked(self, blocked: bool) -> None:
        """The upstream reads slower than we write, or reads again."""


class Owner(Protocol):
    """The pool, as its connections see it."""

    def verify(self, tls: ssl.SSLObject) -> None:
        """Raises PeerRefused when the certificate is not the endpoint's."""

    def freed(self, connection: "UpstreamConnection") -> None:
        """The connection can take another request."""

    def watch(self, connection: "UpstreamConnection", now: float, since: float) -> None:
        """It was used since the wheel looked last: count its idle time from `since`."""

    def rewatch(self, connection: "UpstreamConnection", now: float) -> None:
        """It was not: look again at its deadline."""

    def gone(self, connection: "UpstreamConnection") -> None:
        """The connection is closed, or about to be."""


class UpstreamConnection(asyncio.Protocol):
    """Its states: opening, held (`holder` set), idle (in its pool), closing."""

    __slots__ = (
        "_sock",
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
    transport: asyncio.Transport

    def __init__(self, owner: Owner, sock: socket.socket, remote: str) -> None:
        self.owner = owner
        self._sock = sock
        self.remote = remote
        """The endpoint's `host:port`."""
        self.local = ""
        self.reader = ResponseReader()
        self.holder: Holder | None = None
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

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        host, port = transport.get_extra_info("sockname")[:2]
        self.local = f"{host}:{port}"
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self.owner.verify(tls)
            except PeerRefused as error:
                self.refused = error
                transport.abort()

    def hold(self, holder: Holder, method: bytes) -> None:
        """The connection is `holder`'s for one request."""
        self.holder = holder
        self.requests += 1
        self.reader.expect(method)

    def discard(self) -> None:
        """Give the connection up in the middle of an exchange."""
        self.holder = None
        self.owner.gone(self)
        self.transport.abort()

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

    def data_received(self, data: bytes) -> None:
        holder = self.holder
        events = self.reader.receive(data)
        if holder is not None:
            holder.upstream_events(events)
        else:
            self.close()  # an answer to nothing

    def eof_received(self) -> None:
        holder = self.holder
        events = self.reader.end_of_stream()
        if holder is not None and events and not isinstance(events[-1], Exception):
            holder.upstream_events(events)
        # what is incomplete is reported by connection_lost, which follows

    def connection_lost(self, error: Exception | None) -> None:
        holder = self.holder
        self.holder = None
        self.owner.gone(self)
        if holder is not None:
            holder.upstream_lost(error)

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
