"""Access records to the collector, at least once: a bounded buffer and a thread that sends it in chunks.

Workers' entries are passed on as the bytes that they are. The event loop only appends to the buffer; connecting,
encrypting and waiting for acknowledgements happen in the thread.
"""

import logging
import random
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.clock import Clock
from mesh.records import ACCESS_TAG
from sidecar.agent.backoff import Backoff
from sidecar.config.endpoint import Address
from sidecar.config.messages import AccessLog

MAX_BUFFERED_BYTES = 32 * 1024 * 1024
"""About 60,000 records, a minute's worth of 1,000 requests per second; further ones are dropped and counted."""

MAX_CHUNK_BYTES = 512 * 1024
ACK_TIMEOUT_S = 10.0
"""The collector acknowledges when the records are on its disk."""

INTERRUPT_S = 1.0
"""How long the thread may take to notice that its connection was taken away."""

GATHER_S = 0.05
"""A chunk that is not full waits this long for more: one acknowledgement then serves many records."""

if TYPE_CHECKING:
    from sidecar.agent.forward_sender import ForwardSender

_log = logging.getLogger("remora.access")

Secure = Callable[[socket.socket], ssl.SSLSocket]


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: str
    count: int
    entries: tuple[bytes, ...]
    size: int
    """Bytes of all entries."""


class AccessExporter:
    """`offer` from the event loop; `start` and `stop` once each."""

    def __init__(
        self,
        address: Address,
        secure: Secure,
        clock: Clock,
        rng: random.Random,
        *,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
    ) -> None:
        self._address = address
        self._secure = secure
        self._clock = clock
        self._rng = rng
        self._max_buffered_bytes = max_buffered_bytes
        self._max_chunk_bytes = max_chunk_bytes
        self._backoff = Backoff(rng, base_s=0.1, max_s=5.0)
        self._changed = threading.Condition()
        self._waiting: deque[AccessLog] = deque()
        self._waiting_bytes = 0
        self._unacknowledged: _Chunk | None = None
        self._stop_at: float | None = None
        self._renew = False
        self._thread: threading.Thread | None = None
        self._sender: ForwardSender | None = None
        self.acknowledged = 0
        """Records that the collector has."""
        self.dropped = 0
        """Records lost: the buffer was full, or the agent ended before the collector took them."""
        self.failures = 0
        self.last_error: str | None = None

    @property
    def buffered_bytes(self) -> int:
        """Of entries not acknowledged yet."""
        chunk = self._unacknowledged
        return self._waiting_bytes + (chunk.size if chunk is not None else 0)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def offer(self, records: AccessLog) -> None:
        """Take records, or drop and count them. Never waits."""
        with self._changed:
            if self._stop_at is not None or self.buffered_bytes + len(records.entries) > self._max_buffered_bytes:
                self.dropped += records.count
                return
            self._waiting.append(records)
            self._waiting_bytes += len(records.entries)
            self._changed.notify()

    def reconnect(self) -> None:
        """Use new credentials from the next chunk on."""
        with self._changed:
            self._renew = True

    def stop(self, deadline_s: float) -> None:
        """Send what is buffered for at most `deadline_s`, then end. Blocks: call it from a thread."""
        with self._changed:
            self._stop_at = self._clock.monotonic() + deadline_s
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(deadline_s)
            if self._thread.is_alive() and self._sender is not None:
                self._sender.interrupt()
                self._thread.join(INTERRUPT_S)
        with self._changed:
            left = sum(records.count for records in self._waiting)
            left += self._unacknowledged.count if self._unacknowledged is not None else 0
            self._waiting.clear()
            self._waiting_bytes = 0
            self._unacknowledged = None
        if left:
            self.dropped += left
            _log.error("%d access records are lost: the collector did not take them in time", left)

    def _run(self) -> None:
        # fluent-logger is imported here, in the thread: its cost is nobody's start-up time.
        from sidecar.agent.forward_sender import ForwardSender

        sender = self._sender = ForwardSender(ACCESS_TAG, self._address, self._secure, timeout_s=ACK_TIMEOUT_S)
        try:
            while (chunk := self._next_chunk()) is not None:
                self._apply_renewal(sender)
                sender.timeout = self._patience_s()
                try:
                    sender.send_chunk(chunk.id, chunk.count, chunk.entries)
                except (OSError, ValueError) as error:
                    if not self._wait_after(error):
                        return
                else:
                    self._acknowledge(chunk)
        finally:
            sender.disconnect()

    def _next_chunk(self) -> "_Chunk | None":
        """The chunk that must be sent again, or a new one; None when stopped and nothing is left."""
        with self._changed:
            if self._unacknowledged is not None:
                return self._unacknowledged
            while not self._waiting:
                if self._stop_at is not None:
                    return None
                self._changed.wait()
            if self._waiting_bytes < self._max_chunk_bytes and self._stop_at is None:
                self._changed.wait_for(
                    lambda: self._waiting_bytes >= self._max_chunk_bytes or self._stop_at is not None, GATHER_S
                )
            parts = [self._waiting.popleft()]
            size = len(parts[0].entries)
            while self._waiting and size + len(self._waiting[0].entries) <= self._max_chunk_bytes:
                parts.append(self._waiting.popleft())
                size += len(parts[-1].entries)
            self._waiting_bytes -= size
            count = sum(part.count for part in parts)
            # Unique to this chunk, equal when it is sent again; 128 bits as the protocol asks for.
            chunk_id = f"{self._rng.getrandbits(128):032x}"
            self._unacknowledged = _Chunk(chunk_id, count, tuple(part.entries for part in parts), size)
            return self._unacknowledged

    def _apply_renewal(self, sender: "ForwardSender") -> None:
        with self._changed:
            renew, self._renew = self._renew, False
        if renew:
            sender.disconnect()

    def _patience_s(self) -> float:
        if self._stop_at is None:
            return ACK_TIMEOUT_S
        return max(0.05, min(ACK_TIMEOUT_S, self._stop_at - self._clock.monotonic()))

    def _acknowledge(self, chunk: _Chunk) -> None:
        with self._changed:
            self._unacknowledged = None
            self.acknowledged += chunk.count
            self.last_error = None
        self._backoff.reset()

    def _wait_after(self, error: Exception) -> bool:
        """Back off; False when the time to stop has come."""
        self.failures += 1
        self.last_error = f"{type(error).__name__}: {error}"
        delay_s = self._backoff.next_s()
        _log.warning("collector %s: %s; again in %.1f s", self._address, self.last_error, delay_s)
        with self._changed:
            if self._stop_at is None:
                self._changed.wait_for(lambda: self._stop_at is not None, delay_s)
                return True
            left_s = self._stop_at - self._clock.monotonic()
            if left_s <= 0:
                return False
            self._changed.wait_for(lambda: False, min(delay_s, left_s))
            return True
