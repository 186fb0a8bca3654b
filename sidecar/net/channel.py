"""The Unix socket pair between agent and worker: frames of sidecar.config.messages, sockets beside them.

Sending never blocks: what the kernel does not take waits in a bounded queue, and records beyond the bound are
dropped and counted (`dropped`), so that a slow agent can not hold up a request.
"""

import array
import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from sidecar.config.codec import from_plain, to_plain
from sidecar.config.messages import MAX_FRAME_BYTES, AccessLog, Listen, ToAgent, ToWorker

_LENGTH = struct.Struct(">I")
_BIN_32 = struct.Struct(">BI")
"""msgpack's header of a long byte string: 0xC6 and the length."""
_ACCESS_LOG = b"\x93" + msgpack.packb(AccessLog.__name__)
"""How the plain form of an AccessLog begins: an array of three."""
_MAX_FDS = 64
_RECEIVE_BYTES = 256 * 1024
_FDS_SPACE = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)


class BrokenChannel(Exception):
    """The peer sent what is no frame, or no message that we expect."""


class Channel:
    """One end. `expects` is the union of messages that the peer may send; `on_message(message, fds)` gets each one and
    owns the descriptors; `on_close(error)` is called once, with None when the peer closed."""

    def __init__(
        self,
        sock: socket.socket,
        expects: Any,
        on_message: Callable[[Any, list[int]], None],
        on_close: Callable[[Exception | None], None],
        *,
        max_queued_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._expects = expects
        self._on_message = on_message
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        # One buffer for all that comes, made longer for a frame that does not fit: fresh memory for every read would
        # cost more than reading.
        self._received = bytearray(_RECEIVE_BYTES)
        self._filled = 0
        self._fds: list[int] = []
        self._queue: deque[tuple[bytes | memoryview, Sequence[int]]] = deque()
        self._queued_bytes = 0
        self._max_queued_bytes = max_queued_bytes
        self._closed = False
        self._writable_end = True
        self.dropped = 0
        """Droppable messages that found the queue full."""
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: ToAgent | ToWorker, *, fds: Sequence[int] = (), droppable: bool = False) -> bool:
        """Queue a message. False if the channel is closed, or if it is full and the message may be dropped.

        `fds` stay the caller's; the kernel copies them when the frame leaves, which for a full queue is later:
        keep them open.
        """
        if self._closed or not self._writable_end:
            return False
        if droppable and self.full:
            self.dropped += 1
            return False
        idle = not self._queue
        if isinstance(message, AccessLog):
            # By far the largest part of what is said: its bytes are not copied into a frame.
            head = _ACCESS_LOG + msgpack.packb(message.count) + _BIN_32.pack(0xC6, len(message.entries))
            self._enqueue(_LENGTH.pack(len(head) + len(message.entries)) + head, fds)
            self._enqueue(message.entries, ())
        else:
            body = msgpack.packb(to_plain(message))
            self._enqueue(_LENGTH.pack(len(body)) + body, fds)
        if idle:
            self._writable()
            if self._queue:
                self._loop.add_writer(self._sock.fileno(), self._writable)
        return self._writable_end

    def _enqueue(self, frame: bytes, fds: Sequence[int]) -> None:
        self._queue.append((frame, fds))
        self._queued_bytes += len(frame)

    @property
    def full(self) -> bool:
        """Whether a message that may be dropped would be."""
        return self._queued_bytes > self._max_queued_bytes

    @property
    def queued_bytes(self) -> int:
        """Bytes that the peer has not read yet, beyond the kernel's buffer."""
        return self._queued_bytes

    def close(self) -> None:
        """Close without calling `on_close`."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for fd in self._fds:
            socket.close(fd)
        self._fds.clear()

    def _fail(self, error: Exception | None) -> None:
        if not self._closed:
            self.close()
            self._on_close(error)

    def _writable(self) -> None:
        while self._queue:
            frame, fds = self._queue[0]
            try:
                if fds:
                    rights = array.array("i", fds)
                    sent = self._sock.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                else:
                    sent = self._sock.send(frame)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # The peer is gone. What it said before it went is read first; then its end shows there.
                self._writable_end = False
                self._queue.clear()
                self._queued_bytes = 0
                break
            self._queued_bytes -= sent
            if sent < len(frame):
                # A view: a snapshot of many megabytes leaves in hundreds of pieces.
                self._queue[0] = (memoryview(frame)[sent:], ())
                return
            self._queue.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            with memoryview(self._received) as buffer:
                size, ancillary, flags, _ = self._sock.recvmsg_into([buffer[self._filled :]], _FDS_SPACE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        self._take_descriptors(ancillary)
        if flags & socket.MSG_CTRUNC or len(self._fds) > _MAX_FDS:
            self._fail(BrokenChannel(f"more than {_MAX_FDS} descriptors at once"))
        elif not size:
            self._fail(None)
        else:
            self._filled += size
            try:
                self._take_frames()
            except BrokenChannel as error:
                self._fail(error)

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                for fd in fds:
                    os.set_inheritable(fd, False)  # recvmsg gives them without close-on-exec
                self._fds.extend(fds)

    def _take_frames(self) -> None:
        """Hand on what is whole; what is left moves to the buffer's beginning. Raises BrokenChannel."""
        start, filled = 0, self._filled
        try:
            while not self._closed and filled - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._received, start)
                if length > MAX_FRAME_BYTES:
                    raise BrokenChannel(f"frame of {length} bytes")
                end = start + _LENGTH.size + length
                if end > filled:
                    break
                with memoryview(self._received) as buffer:
                    message, attached = self._parse(buffer[start + _LENGTH.size : end])
                start = end
                self._on_message(message, attached)
        finally:
            if start:
                self._received[: filled - start] = self._received[start:filled]
                self._filled = filled - start
        if self._filled == len(self._received):
            self._received += bytes(len(self._received))
        elif self._filled < _RECEIVE_BYTES < len(self._received):
            del self._received[_RECEIVE_BYTES:]

    def _parse(self, body: memoryview) -> tuple[Any, list[int]]:
        """A frame's message and the sockets that it names. Raises BrokenChannel."""
        try:
            message = from_plain(self._expects, msgpack.unpackb(body, strict_map_key=False))
        except (ValueError, TypeError, LookupError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise BrokenChannel(f"no message that is expected here: {error}") from error
        count = len(message.addresses) if isinstance(message, Listen) else 0
        if len(self._fds) < count:
            raise BrokenChannel(f"{count} addresses but {len(self._fds)} sockets")
        attached = self._fds[:count]
        del self._fds[:count]
        return message, attached
