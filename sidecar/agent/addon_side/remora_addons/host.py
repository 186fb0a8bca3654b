"""Serves one addon script to a sidecar's workers: `python -m remora_addons.host --script FILE --socket-fd N ...`.

A frame is 4 bytes of length, big-endian, then a msgpack array; sidecar/net/addon_channel.py is the other end:

    [id, "request", {method, scheme, authority, target, version, headers, body, client, route}]
        -> [id, "request", {method, authority, target, headers, body}] to go on, or
        -> [id, "response", {status, headers, body}] to answer so
    [id, "response", {status, headers, body}] -> [id, "response", {status, headers, body}]
    [id, "end", reason or nil]                   the request is over; no answer

Whatever goes wrong is `[id, "error", text]`. A body that is nil was too long to be sent, and stays as it is.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgpack
from mitmproxy.flow import Error
from mitmproxy.http import HTTPFlow

from .messages import answer_of, new_flow, request_of, set_answer
from .script import Broken, Script

MAX_FRAME_BYTES = 40 * 1024 * 1024
MAX_FLOWS = 4096
"""Requests whose answers are awaited; the oldest is forgotten."""

BEAT_EVERY_S = 1.0
"""A hook that blocks the process for long stops these: the agent then replaces it."""

_LENGTH = struct.Struct(">I")


class Host:
    """The script, and the flows of requests whose answers are still to come, for any number of workers."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._flows: OrderedDict[tuple[int, int], HTTPFlow] = OrderedDict()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One worker's connection."""
        self._connections += 1
        connection = self._connections
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                if length > MAX_FRAME_BYTES:
                    raise ValueError(f"frame of {length} bytes")
                number, kind, plain = msgpack.unpackb(await reader.readexactly(length))
                # One task each: a hook that waits for something holds up no other request.
                task = asyncio.get_running_loop().create_task(self._handle(writer, (connection, number), kind, plain))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the worker went away or was replaced, or we end
        finally:
            for key in [key for key in self._flows if key[0] == connection]:
                del self._flows[key]
            writer.close()

    async def _handle(self, writer: asyncio.StreamWriter, key: tuple[int, int], kind: str, plain: Any) -> None:
        try:
            answer = await self._answer(key, kind, plain)
        except Broken as error:
            answer = ("error", str(error))
        except Exception as error:
            logging.exception("%s", kind)
            answer = ("error", f"{type(error).__name__}: {error}"[:300])
        if answer is None or writer.is_closing():
            return
        frame = msgpack.packb([key[1], *answer])
        writer.write(_LENGTH.pack(len(frame)) + frame)
        await writer.drain()

    async def _answer(self, key: tuple[int, int], kind: str, plain: Any) -> tuple[str, Any] | None:
        if kind == "request":
            flow = new_flow(plain)
            await self._script.request(flow)
            if flow.error is not None:
                raise Broken("the script killed the request")
            if flow.response is not None:
                return "response", answer_of(flow, plain)
            self._flows[key] = flow
            if len(self._flows) > MAX_FLOWS:
                self._flows.popitem(last=False)
            return "request", request_of(flow, plain)
        known = self._flows.pop(key, None)
        if kind == "end":
            if known is not None and plain is not None:
                known.error = Error(plain)
                await self._script.error(known)
            return None
        if known is None:
            raise Broken("the request of this answer is not known any more")
        set_answer(known, plain)
        await self._script.response(known)
        if known.error is not None:
            raise Broken("the script killed the request")
        return "response", answer_of(known, plain)


async def run(script_path: Path, sock: socket.socket, confdir: str, beat_fd: int) -> None:
    script = Script(script_path, confdir)
    await script.load()
    host = Host(script)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, ended.set)
    server = await asyncio.start_unix_server(host.serve, sock=sock)
    tasks = [loop.create_task(_beat(script, beat_fd, ended)), loop.create_task(script.keep_fresh())]
    await ended.wait()
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _beat(script: Script, fd: int, ended: asyncio.Event) -> None:
    """Say every second that we live, and what is wrong with the script. The agent's end is ours."""
    while True:
        try:
            os.write(fd, script.trouble.encode("utf-8", "replace")[:500].replace(b"\n", b" ") + b"\n")
        except BlockingIOError:
            pass  # the agent is busy
        except OSError:
            ended.set()
            return
        await asyncio.sleep(BEAT_EVERY_S)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m remora_addons.host")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--socket-fd", type=int, required=True, help="a listening Unix socket")
    parser.add_argument("--beat-fd", type=int, required=True, help="a pipe to the agent")
    parser.add_argument("--confdir", required=True)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    os.set_blocking(flags.beat_fd, False)
    asyncio.run(run(flags.script, socket.socket(fileno=flags.socket_fd), flags.confdir, flags.beat_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
