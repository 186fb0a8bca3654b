"""A relay before a back end that speaks HTTP: it passes requests on, or answers 429, or loses the answer."""

import asyncio
import threading
from enum import Enum
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

MAX_BODY_BYTES = 256 << 20


class Mode(Enum):
    PASS = "pass"
    BUSY = "busy"
    """429, and to come back after a second."""
    LOSE = "lose"
    """The back end does what it is asked to, and the connection ends without an answer."""


class Relay:
    """Runs in a thread of its own, so that it keeps its pace whatever the test does."""

    def __init__(self, back_end: str, port: int) -> None:
        self.mode = Mode.PASS
        self.counts = dict.fromkeys(Mode, 0)
        """Requests by how they were treated; those that found no back end are in none."""
        self.url = f"http://127.0.0.1:{port}"
        self._back_end = back_end
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._end: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the relay did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)
        self._loop.close()

    async def _run(self) -> None:
        self._end = asyncio.Event()
        # Bodies and answers pass as they are, compressed or not.
        async with aiohttp.ClientSession(auto_decompress=False) as self._client:
            server = web.Server(self._serve, access_log=None, auto_decompress=False)
            runner = web.ServerRunner(server, handle_signals=False)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._ready.set()
            await self._end.wait()
            await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        mode = self.mode
        if mode is Mode.BUSY:
            self.counts[mode] += 1
            return web.json_response({"error": {"type": "busy"}}, status=429, headers={"retry-after": "1"})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            asked = self._client.request(
                request.method, self._back_end + request.raw_path, data=body, headers=headers, skip_auto_headers=_ALL
            )
            async with asked as answer:
                content = await answer.read()
        except aiohttp.ClientError:
            return web.Response(status=502)
        self.counts[mode] += 1
        if mode is Mode.LOSE:
            assert request.transport is not None
            request.transport.abort()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return web.Response(body=content, status=answer.status, headers=kept)


_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})
_ALL = ("accept", "accept-encoding", "user-agent", "content-type")
