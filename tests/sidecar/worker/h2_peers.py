"""HTTP/2 peers made of the h2 library: a client that is told stream by stream what to do, and an upstream."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from sidecar.config.endpoint import Address
from tests.serving import end

DEADLINE_S = 5.0

Fields = list[tuple[bytes, bytes]]


@dataclass
class Stream:
    """What came on one stream, as seen by whoever reads it."""

    id: int
    fields: Fields = field(default_factory=list)
    informational: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    unread: int = 0
    """Octets of the body that have not been acknowledged."""
    trailers: Fields | None = None
    ended: bool = False
    reset: int | None = None
    """The error code of RST_STREAM."""

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def status(self) -> int:
        return int(self.get(b":status") or b"0")

    def trailer(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.trailers or [] if key == name), None)


class H2Peer:
    """One end of a connection. `greedy`: the body's octets are acknowledged as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        config = h2.config.H2Configuration(
            client_side=client, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )  # fmt: skip
        self.h2 = h2.connection.H2Connection(config)
        self.reader = reader
        self.writer = writer
        self.streams: dict[int, Stream] = {}
        self.goaways: list[tuple[int, int]] = []
        """(last stream, error code) of each GOAWAY."""
        self._frames = b""
        self._preface = not client
        self.greedy = True
        self.closed = False
        self.on_request: Callable[[Stream], None] | None = None
        self._changed = asyncio.Condition()

    def start(self, **settings: int) -> None:
        """Preface and SETTINGS; names are those of h2.settings.SettingCodes."""
        values = {h2.settings.SettingCodes[name]: value for name, value in settings.items()}
        self.h2.local_settings = h2.settings.Settings(self.h2.config.client_side, {**self.h2.local_settings, **values})
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        if not self.writer.is_closing():
            self.writer.write(self.h2.data_to_send())

    async def run(self) -> None:
        """Read until the end."""
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(self._without_goaway(data)):
                    self._take(event)
                self.flush()
                async with self._changed:
                    self._changed.notify_all()
        self.closed = True
        async with self._changed:
            self._changed.notify_all()

    def _without_goaway(self, data: bytes) -> bytes:
        """The library takes GOAWAY for the end of everything, but streams go on behind it (RFC 9113 6.8)."""
        self._frames += data
        kept = b""
        if self._preface and len(self._frames) >= 24:
            kept, self._frames, self._preface = self._frames[:24], self._frames[24:], False
        while not self._preface and len(self._frames) >= 9:
            size = 9 + int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < size:
                break
            frame, self._frames = self._frames[:size], self._frames[size:]
            if frame[3] == 7:
                self.goaways.append((int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big")))
            else:
                kept += frame
        return kept

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=number, headers=headers):
                stream = self.streams[number] = Stream(number, list(headers))
                if self.on_request is not None:
                    self.on_request(stream)
            case h2.events.ResponseReceived(stream_id=number, headers=headers):
                self.streams[number].fields = list(headers)
            case h2.events.InformationalResponseReceived(stream_id=number, headers=headers):
                self.streams[number].informational.append(list(headers))
            case h2.events.TrailersReceived(stream_id=number, headers=headers):
                self.streams[number].trailers = list(headers)
            case h2.events.DataReceived(stream_id=number, data=data, flow_controlled_length=octets):
                stream = self.streams[number]
                stream.body += data
                stream.unread += octets
                if self.greedy:
                    self.acknowledge(stream)
            case h2.events.StreamEnded(stream_id=number):
                self.streams[number].ended = True
            case h2.events.StreamReset(stream_id=number, error_code=code):
                self.streams[number].reset = int(code)

    def acknowledge(self, stream: Stream) -> None:
        """Let the peer send as much again as has come."""
        octets, stream.unread = stream.unread, 0
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.h2.acknowledge_received_data(octets, stream.id)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what comes."""

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: condition() or self.closed)

        await asyncio.wait_for(wait(), DEADLINE_S)
        assert condition(), f"the connection ended before: {what}"

    def open(self, fields: Fields, *, end: bool = True) -> Stream:
        """Clients: begin a request."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(number)
        self.h2.send_headers(number, fields, end_stream=end)
        self.flush()
        return stream

    def send_head(self, stream: Stream, fields: Fields, *, end: bool = False) -> None:
        """Servers: a head, informational ones too; both: trailers, with `end`."""
        self.h2.send_headers(stream.id, fields, end_stream=end)
        self.flush()

    async def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """As much as the windows let pass at a time."""
        at = 0
        while at < len(data):
            await self.until(lambda: self.h2.local_flow_control_window(stream.id) > 0 or stream.reset, "a window")
            if stream.reset is not None:
                return
            size = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size, len(data) - at)
            self.h2.send_data(stream.id, data[at : at + size])
            at += size
            self.flush()
        if end:
            self.h2.end_stream(stream.id)
            self.flush()

    def reset(self, stream: Stream, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream.id, code)
        self.flush()

    def say_goodbye(self, last: int) -> None:
        """GOAWAY as a server that drains sends it; the connection goes on."""
        self.writer.write(b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + bytes(4))

    async def answer(self, stream: Stream) -> Stream:
        """Until the stream is over, one way or another."""
        await self.until(lambda: stream.ended or stream.reset is not None, "the answer's end")
        return stream

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError, ssl.SSLError):
            await asyncio.wait_for(self.writer.wait_closed(), DEADLINE_S)


def get(path: str = "/", *fields: tuple[bytes, bytes], method: bytes = b"GET", host: bytes = b"a.example") -> Fields:
    """A request's fields."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", host), (b":path", path.encode())]
    return [*pseudo, *fields]


class H2Client:
    """Opens connections, closes them all."""

    def __init__(self) -> None:
        self._peers: list[H2Peer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, address: Address, tls: ssl.SSLContext | None = None, **settings: int) -> H2Peer:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=tls, server_hostname="" if tls else None
        )
        return self._begin(reader, writer, **settings)

    async def adopt(self, sock: socket.socket) -> H2Peer:
        """Speak on a connection that is there already."""
        sock.setblocking(False)
        return self._begin(*await asyncio.open_connection(sock=sock))

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **settings: int) -> H2Peer:
        peer = H2Peer(reader, writer, client=True)
        peer.start(**settings)
        self._peers.append(peer)
        self._tasks.append(asyncio.get_running_loop().create_task(peer.run()))
        return peer

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
        await asyncio.gather(*self._tasks)


H2Handler = Callable[[H2Peer, Stream], Awaitable[None]]


async def answer_ok(peer: H2Peer, stream: Stream) -> None:
    """200 "ok" once the request is whole."""
    await peer.until(lambda: stream.ended or stream.reset is not None, "the request's end")
    if stream.reset is None:
        peer.send_head(stream, [(b":status", b"200"), (b"content-length", b"2")])
        await peer.send(stream, b"ok", end=True)


class H2Gate:
    """A handler that answers 200 without a body from when it is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Those that wait are answered."""
        self._opened.set()

    async def __call__(self, peer: H2Peer, stream: Stream) -> None:
        await self._opened.wait()
        peer.send_head(stream, [(b":status", b"200")], end=True)


class H2Origin:
    """An upstream: `handler` decides what happens to each request."""

    def __init__(self, tls: ssl.SSLContext | None = None, **settings: int) -> None:
        self.handler: H2Handler = answer_ok
        self.greedy = True
        """How a peer starts: a handler is told of a request only after what came with its head was acknowledged."""
        self.requests: list[Stream] = []
        self.peers: list[H2Peer] = []
        self.address = Address("127.0.0.1", 0)
        self._tls = tls
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        return sum(not peer.closed for peer in self.peers)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = H2Peer(reader, writer, client=False)
        peer.greedy = self.greedy
        self.peers.append(peer)

        def begun(stream: Stream) -> None:
            self.requests.append(stream)
            self._spawn(self._handle(peer, stream))

        peer.on_request = begun
        peer.start(**self._settings)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await peer.run()
        await peer.close()

    async def _handle(self, peer: H2Peer, stream: Stream) -> None:
        with contextlib.suppress(AssertionError, h2.exceptions.ProtocolError, asyncio.CancelledError):
            await self.handler(peer, stream)

    async def close(self) -> None:
        await end(self._server, self._tasks)
