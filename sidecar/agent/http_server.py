"""A small HTTP/1.1 server for operators and scrapers: GET and POST, short answers and streams, everything bounded.

Only for the agent's own endpoints, never for traffic.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

import httptools

from mesh.lifecycle import TaskScope

MAX_CONNECTIONS = 128
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
IDLE_TIMEOUT_S = 75.0
"""Above Prometheus's usual scrape interval, so that it keeps its connection."""

ANSWER_TIMEOUT_S = 10.0

STALL_S = 30.0
"""A client that takes nothing of a stream for so long is cut off."""

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\nx-content-type-options: nosniff\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\n"
)

_log = logging.getLogger("remora.admin")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    """Names in lower case; the values of repeated ones joined by commas (RFC 9110 5.3)."""
    body: bytes = b""
    peer: tuple[str, int] | None = None
    ours: tuple[str, int] | None = None
    """Both ends of the connection: IP address and port."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, whole."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


def text(body: str, status: int = 200) -> Response:
    """A plain answer."""
    return Response(status, body.encode())


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer with status 200 that goes on until `parts` ends or the client goes away."""

    parts: AsyncGenerator[bytes, None]
    hung_up: Callable[[], None]
    """The client has closed its side: it still reads what comes."""
    content_type: str


Handler = Callable[[Request], Awaitable[Response | Stream]]


class HttpServer:
    """Serves one socket with one handler until its scope closes."""

    def __init__(
        self, handler: Handler, scope: TaskScope, patience_s: Callable[[str], float | None] = lambda path: None
    ) -> None:
        """`patience_s`: how long the answer for a path may take; None: ANSWER_TIMEOUT_S."""
        self._handler = handler
        self._scope = scope
        self._patience_s = patience_s
        self._server: asyncio.Server | None = None
        self.connections: dict[_Connection, str] = {}
        """By age, each with its client's address."""

    async def start(self, sock: socket.socket) -> None:
        """Accept on a listening socket, which is then ours."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=sock)

    async def close(self) -> None:
        """Stop accepting and close every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()

    def admit(self, connection: "_Connection", peer: str) -> bool:
        """Whether there is room. When there is none, the address with the most connections gives one up: its oldest
        that waits for nothing, or, for another address, its oldest. Nobody alone can keep the others out."""
        if len(self.connections) >= MAX_CONNECTIONS:
            counts = Counter(self.connections.values())
            most = max(counts.values())
            crowd = [each for each, of in self.connections.items() if counts[of] == most]
            oldest = crowd[0] if counts[peer] < most else None
            gives_way = next((each for each in crowd if each.is_idle), oldest)
            if gives_way is None:
                return False
            del self.connections[gives_way]
            gives_way.abort()
        self.connections[connection] = peer
        return True

    def answer(self, connection: "_Connection", request: Request) -> None:
        """Work out an answer in the background."""
        self._scope.spawn(self._answer(connection, request), name=f"admin {request.path[:40]}")

    async def _answer(self, connection: "_Connection", request: Request) -> None:
        response: Response | Stream
        try:
            async with asyncio.timeout(self._patience_s(request.path) or ANSWER_TIMEOUT_S):
                response = await self._handler(request)
        except TimeoutError:
            response = text("timed out\n", 504)
        except Exception:
            # One broken page must not end the agent, whose traffic goes on.
            _log.exception("%s %s", request.method, request.path)
            response = text("internal error\n", 500)
        if isinstance(response, Stream):
            await connection.stream(response)
        else:
            connection.send(response)


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._begin()
        self._busy = False
        self._keep_alive = True
        self._streaming: Stream | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        if not self._server.admit(self, (self._place("peername") or ("",))[0]):
            self._transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.pop(self, None)
        self._transport = None
        self._stop_timer()
        self._writable.set()
        self._hung_up()

    @property
    def is_idle(self) -> bool:
        """No request of its is being answered."""
        return not self._busy

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._busy:
            # The next request came before our answer: not read until then.
            self._refuse(text("pipelining is not supported\n", 400))
            return
        if self._head_bytes > MAX_HEAD_BYTES + MAX_BODY_BYTES:
            self._refuse(text("too large\n", 413))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(text("no upgrades here\n", 400))
        except httptools.HttpParserError:
            self._refuse(text("malformed request\n", 400))

    def eof_received(self) -> bool:
        self._hung_up()
        return self._busy

    def _hung_up(self) -> None:
        streaming, self._streaming = self._streaming, None
        if streaming is not None:
            streaming.hung_up()

    # What httptools calls.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, said = name.decode("latin-1").lower(), value.decode("latin-1")
        former = self._headers.get(key)
        self._headers[key] = said if former is None else f"{former}, {said}"

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        self._keep_alive = self._parser.should_keep_alive()
        try:
            url: SplitResult = urlsplit(self._url.decode("ascii"))
            query = tuple(parse_qsl(url.query, keep_blank_values=True, max_num_fields=32))
        except ValueError:
            self._refuse(text("malformed request target\n", 400))
            return
        self._busy = True
        self._stop_timer()
        peer, ours = self._place("peername"), self._place("sockname")
        self._server.answer(self, Request(method, url.path, query, self._headers, bytes(self._body), peer, ours))

    def _place(self, which: str) -> tuple[str, int] | None:
        address = self._transport.get_extra_info(which) if self._transport is not None else None
        return (str(address[0]), int(address[1])) if address else None

    def send(self, response: Response) -> None:
        """The answer to the request that is being worked on."""
        self._busy = False
        if self._transport is None:
            return
        self._write(response)
        if self._keep_alive:
            self._begin()
            self._wait()
        else:
            self._transport.close()

    async def stream(self, stream: Stream) -> None:
        """The answer to the request that is being worked on, in parts, at the client's pace."""
        self._keep_alive = False
        self._streaming = stream
        async with contextlib.aclosing(stream.parts) as parts:
            self._write_part(_STREAM_HEAD % stream.content_type.encode("ascii"))
            async for part in parts:
                self._write_part(b"%x\r\n%b\r\n" % (len(part), part))
                try:
                    async with asyncio.timeout(STALL_S):
                        await self._writable.wait()
                except TimeoutError:
                    self.abort()
                if self._transport is None:
                    return
        self._streaming = None
        self._write_part(b"0\r\n\r\n")
        if self._transport is not None:
            self._transport.close()

    def _write_part(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _refuse(self, response: Response) -> None:
        self._keep_alive = False
        if self._transport is not None:
            self._write(response)
            self._transport.close()

    def _write(self, response: Response) -> None:
        assert self._transport is not None
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        if not self._keep_alive:
            lines.append("connection: close")
        self._transport.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + response.body)

    def _wait(self) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
