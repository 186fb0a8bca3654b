"""A worker's connection to the process of one addon script: many calls at once, each with a time of its own.

The agent keeps the Unix socket listening while it replaces a process that died, so connecting again is all there is to
do here. What can not be asked, or is not answered in time, raises AddonFailed; nothing ever waits for room. The frames
are described where the other end is: sidecar/agent/addon_side/remora_addons/host.py.
"""

import asyncio
import hashlib
import struct
from typing import Any, cast

import msgpack

from mesh.lifecycle import TaskScope

MAX_PENDING = 256
"""Calls under way at one script; the next fails at once."""

MAX_FRAME_BYTES = 40 * 1024 * 1024
MAX_UNSENT_BYTES = 32 * 1024 * 1024

_LENGTH = struct.Struct(">I")


def socket_path(directory: str, script: str) -> str:
    """Where the process of `script` listens. A hash: a socket's path has 107 characters at most."""
    return f"{directory}/{hashlib.sha256(script.encode()).hexdigest()[:16]}.sock"


class AddonFailed(Exception):
    """The script's process is not there, was too slow, or says that the script failed."""


class AddonChannel(asyncio.Protocol):
    """To the Unix socket at `path`. Connects at the first call, and again after a loss."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: TaskScope, path: str) -> None:
        self._loop = loop
        self._scope = scope
        self._path = path
        self._transport: asyncio.Transport | None = None
        self._connecting = False
        self._received = bytearray()
        self._calls: dict[int, asyncio.Future[tuple[str, Any]]] = {}
        self._unsent: list[bytes] = []
        self._number = 0

    def begin(self) -> int:
        """A number for a request, and later for its answer."""
        self._number += 1
        return self._number

    def call(self, number: int, kind: str, plain: Any, timeout_s: float) -> "asyncio.Future[tuple[str, Any]]":
        """(kind, values) of the answer; or AddonFailed, at the latest after `timeout_s`."""
        future: asyncio.Future[tuple[str, Any]] = self._loop.create_future()
        if len(self._calls) >= MAX_PENDING:
            future.set_exception(AddonFailed(f"{MAX_PENDING} calls are under way"))
            return future
        self._calls[number] = future
        timer = self._loop.call_later(timeout_s, self._too_slow, number, timeout_s)
        future.add_done_callback(lambda _: timer.cancel())
        self._send([number, kind, plain])
        return future

    def end(self, number: int, reason: str | None) -> None:
        """The script will see no answer to this request; `reason` tells it why, None: nothing."""
        if self._transport is not None:
            self._send([number, "end", reason])

    def close(self) -> None:
        """Fail what is under way."""
        if self._transport is not None:
            self._transport.abort()
        self._fail("the worker ends")

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._received.clear()
        unsent, self._unsent = self._unsent, []
        self._transport.writelines(unsent)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail("the script's process went away")

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, start)
            if length > MAX_FRAME_BYTES:
                self._broken(f"a frame of {length} bytes")
                return
            end = start + _LENGTH.size + length
            if len(received) < end:
                break
            try:
                number, kind, plain = msgpack.unpackb(bytes(received[start + _LENGTH.size : end]))
            except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
                self._broken(f"no answer: {error}")
                return
            start = end
            self._answered(number, kind, plain)
        del received[:start]

    # inside

    def _send(self, message: list[Any]) -> None:
        body = msgpack.packb(message)
        frame = _LENGTH.pack(len(body)) + body
        transport = self._transport
        if transport is None:
            self._unsent.append(frame)
            if not self._connecting:
                self._connecting = True
                self._scope.spawn(self._connect(), name="addon")
        elif transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._fail_one(message[0], "the script's process does not read")
        else:
            transport.write(frame)

    async def _connect(self) -> None:
        try:
            await self._loop.create_unix_connection(lambda: self, self._path)
        except OSError as error:
            self._unsent.clear()
            self._fail(f"the script's process can not be reached: {error.strerror or error}")
        finally:
            self._connecting = False

    def _answered(self, number: Any, kind: Any, plain: Any) -> None:
        future = self._calls.pop(number, None)
        if future is None or future.done():
            return  # it was too late
        if kind in ("request", "response") and isinstance(plain, dict):
            future.set_result((kind, plain))
        else:
            future.set_exception(AddonFailed(str(plain)[:500]))

    def _too_slow(self, number: int, timeout_s: float) -> None:
        self._fail_one(number, f"no answer within {timeout_s:g} s")

    def _fail_one(self, number: int, why: str) -> None:
        future = self._calls.pop(number, None)
        if future is not None and not future.done():
            future.set_exception(AddonFailed(why))

    def _fail(self, why: str) -> None:
        for number in list(self._calls):
            self._fail_one(number, why)

    def _broken(self, why: str) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._fail(f"the script's process sends {why}")


class AddonChannels:
    """The channels of a worker, one for each script. `directory` has the agent's sockets; empty: there are none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: TaskScope) -> None:
        self._loop = loop
        self._scope = scope
        self._channels: dict[str, AddonChannel] = {}
        self.directory = ""

    def of(self, script: str) -> AddonChannel | None:
        """None: the sidecar runs no scripts."""
        if not self.directory:
            return None
        path = socket_path(self.directory, script)
        channel = self._channels.get(path)
        if channel is None:
            channel = self._channels[path] = AddonChannel(self._loop, self._scope, path)
        return channel

    def close(self) -> None:
        """Of all."""
        for channel in self._channels.values():
            channel.close()
