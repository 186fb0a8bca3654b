"""Forward-protocol senders for tests: fluent-logger's own, and one on top of it that waits for acknowledgements,
connects again and sends again until it has them."""

import socket
import ssl
import time
from typing import Any

import msgpack
from fluent.sender import EventTime, FluentSender


class TlsFluentSender(FluentSender):
    """fluent-logger's sender over mutual TLS; it has no option for it, but one place where it connects."""

    def __init__(self, tag: str, *, context: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(tag, nanosecond_precision=True, **options)
        self._context = context

    def _reconnect(self) -> None:
        if self.socket:
            self._check_recv_side()
            return
        raw = socket.create_connection((self.host, self.port), timeout=self.timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket = raw if self._context is None else self._context.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise

    def _check_recv_side(self) -> None:
        try:
            super()._check_recv_side()
        except ssl.SSLWantReadError:
            pass  # nothing to read: the library expects EWOULDBLOCK, which TLS sockets say in this way


class AckingSender(TlsFluentSender):
    """Sends PackedForward messages with a chunk id; `deliver` returns once that is acknowledged."""

    attempts = 0

    def deliver(self, chunk: str, records: list[dict[str, Any]], *, within_s: float = 20.0) -> None:
        entries = b"".join(msgpack.packb([EventTime(time.time()), record]) for record in records)
        message = msgpack.packb([self.tag, entries, {"chunk": chunk, "size": len(records)}])
        deadline = time.monotonic() + within_s
        while True:
            self.attempts += 1
            try:
                with self.lock:
                    self._reconnect()
                    assert self.socket is not None
                    self.socket.sendall(message)
                    if self._await_ack() == {"ack": chunk}:
                        return
            except OSError:
                self._close()
            assert time.monotonic() < deadline, f"{chunk} was not acknowledged within {within_s} s"
            time.sleep(0.02)  # the interval of a condition that is polled

    def _await_ack(self) -> Any:
        assert self.socket is not None
        unpacker = msgpack.Unpacker()
        while data := self.socket.recv(4096):
            unpacker.feed(data)
            for answer in unpacker:
                return answer
        raise ConnectionError("closed without an acknowledgement")

    def _check_recv_side(self) -> None:
        """Acknowledgements are read where they are waited for."""
