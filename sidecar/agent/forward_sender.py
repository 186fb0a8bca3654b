"""fluent-logger's sender, made to speak TLS and to wait for acknowledgements.

Fluentd forward protocol v1, PackedForward mode with `chunk`: a chunk that is not acknowledged is sent again under the
same id. https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence

import msgpack
from fluent.sender import FluentSender

from sidecar.config.endpoint import Address

MAX_ACK_BYTES = 4096


class BrokenAck(OSError):
    """The collector's answer is not the acknowledgement of what was sent."""


class ForwardSender(FluentSender):  # type: ignore[misc]
    """One connection, made anew when it breaks. Blocks: for a thread of its own."""

    def __init__(
        self, tag: str, address: Address, secure: Callable[[socket.socket], ssl.SSLSocket], *, timeout_s: float
    ) -> None:
        super().__init__(tag, host=address.host, port=address.port, timeout=timeout_s)
        self._secure = secure
        self.socket: ssl.SSLSocket | None = None

    @property
    def connected(self) -> bool:
        return self.socket is not None

    def send_chunk(self, chunk_id: str, count: int, entries: Sequence[bytes]) -> None:
        """Send `entries`, one after the other, as one chunk; return when the collector has acknowledged it. Raises
        OSError, ssl.SSLError, BrokenAck; then the connection is closed and the chunk is still ours."""
        size = sum(map(len, entries))
        head = b"\x93" + msgpack.packb(self.tag) + b"\xc6" + size.to_bytes(4, "big")  # an array of three; bin 32
        options = msgpack.packb({"chunk": chunk_id, "size": count})
        try:
            if self.socket is None:
                self.socket = self._connect()
            for piece in (head, *entries, options):
                self.socket.sendall(piece)
            _await_ack(self.socket, chunk_id)
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """The next chunk opens a new connection, with new credentials."""
        self._close()

    def interrupt(self) -> None:
        """From another thread: whoever waits for the collector now gets an error instead."""
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                # The plain socket's own method: ssl's would take the TLS state away under the other thread's feet.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout=self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._secure(plain)
        except BaseException:
            plain.close()
            raise


def _await_ack(connection: socket.socket, chunk_id: str) -> None:
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_ACK_BYTES)
    while True:
        data = connection.recv(MAX_ACK_BYTES)
        if not data:
            raise BrokenAck("the collector closed the connection before it acknowledged")
        try:
            unpacker.feed(data)
            answer = next(unpacker, None)
        except (msgpack.exceptions.BufferFull, msgpack.exceptions.UnpackException, ValueError) as error:
            raise BrokenAck(f"the acknowledgement is malformed: {error}") from error
        if answer is None:
            continue
        if not isinstance(answer, dict) or answer.get("ack") != chunk_id:
            raise BrokenAck("the collector acknowledged something else")
        return
