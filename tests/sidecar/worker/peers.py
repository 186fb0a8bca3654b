"""What stands on both sides of the proxy in tests: a client that speaks bytes, an upstream that is told what to do."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sidecar.config.endpoint import Address
from tests.serving import end

DEADLINE_S = 5.0


@dataclass
class Message:
    """A request or response as it came over the wire."""

    start: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]


async def read_head(reader: asyncio.StreamReader) -> Message:
    """A head; raises IncompleteReadError at the end of the stream."""
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
    start, *lines = raw[:-4].split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines]
    return Message(start, [(pair[0], pair[1]) for pair in pairs])


async def read_body(reader: asyncio.StreamReader, message: Message) -> None:
    """The body as the head declares it; nothing for a head that declares none."""
    length = message.get(b"content-length")
    if message.get(b"transfer-encoding") == b"chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
            message.body += (await reader.readexactly(size + 2))[:-2]
            if not size:
                return
    elif length is not None:
        message.body = await asyncio.wait_for(reader.readexactly(int(length)), DEADLINE_S)


class Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), DEADLINE_S)

    async def answer(self, *, body: bool = True) -> Message:
        """The next answer; `body` False for those that have none whatever their head says."""
        message = await read_head(self.reader)
        if body and message.status not in (204, 304) and message.status >= 200:
            await read_body(self.reader, message)
        return message

    async def ask(self, data: bytes) -> Message:
        await self.send(data)
        return await self.answer()

    async def get(self, target: str = "/", *fields: str, host: str = "a.example") -> Message:
        lines = "".join(f"{line}\r\n" for line in fields)
        return await self.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())

    async def closed(self) -> bytes:
        """What comes before the end of the stream; a reset counts as an end."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            return await asyncio.wait_for(self.reader.read(), DEADLINE_S)
        return b""

    async def was_cut(self) -> bool:
        """The connection ends with a reset, not with a clean end."""
        try:
            await asyncio.wait_for(self.reader.read(), DEADLINE_S)
        except ConnectionResetError:
            return True
        return False

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError, ssl.SSLError):
            await asyncio.wait_for(self.writer.wait_closed(), DEADLINE_S)


class Client:
    """Opens connections, closes them all."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []

    async def connect(
        self, address: Address, tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> Connection:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=tls, server_hostname=server_name or ("" if tls else None)
        )
        connection = Connection(reader, writer)
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()


Handler = Callable[["Incoming"], Awaitable[None]]


@dataclass
class Incoming:
    """A request that the upstream has received, head first; `connection` counts from 1."""

    request: Message
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int
    number: int
    """Of requests over all connections, from 1."""

    async def body(self) -> bytes:
        await read_body(self.reader, self.request)
        return self.request.body

    async def answer(self, status: int = 200, body: bytes = b"ok", *fields: str) -> None:
        lines = "".join(f"{line}\r\n" for line in fields)
        head = f"HTTP/1.1 {status} Reason\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        await self.raw(head.encode() + body)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


async def answer_ok(incoming: Incoming) -> None:
    await incoming.body()
    await incoming.answer()


class Origin:
    """An upstream: `handler` decides what happens to each request; the default answers 200 "ok"."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.handler: Handler = answer_ok
        self.requests: list[Message] = []
        self.connections = 0
        self.open = 0
        self.address = Address("127.0.0.1", 0)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        connection = self.connections
        try:
            while not writer.is_closing():
                raw = await reader.readuntil(b"\r\n\r\n")
                start, *lines = raw[:-4].split(b"\r\n")
                request = Message(start, [(name, text) for name, text in (line.split(b": ", 1) for line in lines)])
                self.requests.append(request)
                await self.handler(Incoming(request, reader, writer, connection, len(self.requests)))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the proxy closed, or the test is over
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        await end(self._server, self._tasks)


class Gate:
    """A handler that answers 200 "ok" from when it is opened; the request's body is left alone."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Those that wait are answered."""
        self._opened.set()

    async def __call__(self, incoming: Incoming) -> None:
        await self._opened.wait()
        await incoming.answer()


def answering(status: int = 200, body: bytes = b"ok", *fields: str) -> Handler:
    """A handler that reads the request's body and gives this answer."""

    async def handle(incoming: Incoming) -> None:
        await incoming.body()
        await incoming.answer(status, body, *fields)

    return handle
