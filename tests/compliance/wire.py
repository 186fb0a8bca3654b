"""Both ends of a proxy, byte by byte: an upstream that records and answers what it is told, a client that probes."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.compliance.outcome import Message, Outcome, describe
from tests.serving import end

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_PROBE_ANSWER = b"HTTP/1.1 200 OK\r\nX-Probe: yes\r\nContent-Length: 5\r\n\r\nprobe"
_PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"

SILENCE_S = 0.5
"""After this long without a byte a proxy is taken to wait for more."""

DEADLINE_S = 10.0


async def read_body(reader: asyncio.StreamReader, message: Message) -> None:
    """The body as the proxy frames it; raises IncompleteReadError."""
    if (message.get(b"transfer-encoding") or b"").lower() == b"chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n"))[:-2].partition(b";")[0], 16)
            if not size:
                break
            message.body += (await reader.readexactly(size + 2))[:-2]
        trailers = []
        while (line := (await reader.readuntil(b"\r\n"))[:-2]) != b"":
            name, _, value = line.partition(b": ")
            trailers.append((name, value))
        message.trailers = tuple(trailers)
    elif (length := message.get(b"content-length")) is not None:
        message.body = await reader.readexactly(int(length))


def _head(raw: bytes) -> Message:
    start, *lines = raw[:-4].split(b"\r\n")
    return Message(start, [(name, value) for name, _, value in (line.partition(b": ") for line in lines)])


@dataclass
class Recorder:
    """The upstream. What it says to the first request that is no probe is the case's; it answers the rest plainly."""

    answer: bytes = ANSWER
    closes: bool = False
    """It closes its connection after the answer."""
    requests: list[Message] = field(default_factory=list)
    port: int = 0
    reused: bool = False
    """The probe came over the connection of the case's answer."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def expect(self, answer: bytes, *, closes: bool) -> None:
        """A new case begins."""
        self.answer, self.closes = answer, closes
        self.requests = []
        self.reused = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        served: list[Message] | None = None
        try:
            while True:
                message = _head(await reader.readuntil(b"\r\n\r\n"))
                message.whole = False
                probe = b"/probe" in message.start
                if not probe:
                    self.requests.append(message)
                    served = self.requests
                if message.get(b"expect") is not None:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await read_body(reader, message)
                message.whole = True
                if probe:
                    self.reused = served is self.requests
                    writer.write(_PROBE_ANSWER)
                elif message.start.startswith(b"CONNECT") or message.get(b"upgrade") is not None:
                    writer.write(self.answer)
                    while data := await reader.read(65536):
                        message.body += data
                    return
                else:
                    writer.write(self.answer if len(self.requests) == 1 else ANSWER)
                    if self.closes:
                        return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, asyncio.LimitOverrunError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def stop(self) -> None:
        await end(self._server, self._tasks)


async def outcome_of(
    recorder: Recorder,
    port: int,
    sent: bytes,
    *,
    answer: bytes = ANSWER,
    closes: bool = False,
    bodies: bool = False,
    piece: int = 1 << 20,
) -> Outcome:
    """Send `sent` to the proxy at `port`, in pieces; then a probe over the same connection; see what comes of it.

    `bodies`: the case is about the upstream's answer, so what the client got of its body belongs to the outcome.
    """
    recorder.expect(answer, closes=closes)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        received, connection = await _converse(reader, writer, sent, piece)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    answers, torn = _answers(received, head=sent.startswith(b"HEAD"), bodies=bodies)
    if connection == "cut" and answers and not torn:
        connection = "closed"  # a reset behind a whole answer: the client still had something to say
    elif torn and connection != "waits":
        connection = "cut"
    return Outcome(tuple(answers), tuple(describe(each) for each in recorder.requests if each.whole), connection)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes, piece: int
) -> tuple[bytes, str]:
    received = b""
    probed = False
    try:
        for at in range(0, len(sent), piece):
            writer.write(sent[at : at + piece])
            await writer.drain()
        while True:
            try:
                data = await asyncio.wait_for(reader.read(65536), SILENCE_S)
            except TimeoutError:
                if probed or not received:
                    return received, "waits"
                data = b""
                probed = True
                writer.write(_PROBE)
                continue
            if not data:
                return received, "closed"
            received += data
            at = received.lower().find(b"x-probe")
            if at >= 0:
                return received[: received.rfind(b"HTTP/1.1", 0, at)], "kept"
            if not probed and _whole(received):
                probed = True
                writer.write(_PROBE)
    except OSError:
        return received, "cut"


def _whole(received: bytes) -> bool:
    """A final answer's head is there."""
    for line in received.split(b"\r\n"):
        if line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) and line[9:10] != b"1":
            return b"\r\n\r\n" in received[received.find(line) :]
    return False


def _answers(received: bytes, *, head: bool, bodies: bool) -> tuple[list[str], bool]:
    """The statuses of what a client received, and whether the last answer is not whole."""
    answers: list[str] = []
    rest = received
    while rest:
        raw, mark, behind = rest.partition(b"\r\n\r\n")
        if not mark or not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            return [*answers, "garbage"], True
        message = _head(raw + mark)
        status = message.start.split(b" ")[1].decode()
        body, rest, whole = _body(message, behind, nothing=head or status in ("204", "304") or status < "200")
        answers.append(f"{status} {body.decode('latin-1')}".strip() if bodies and status < "400" else status)
        if not whole:
            return answers, True
        head = False
    return answers, False


def _body(message: Message, behind: bytes, *, nothing: bool) -> tuple[bytes, bytes, bool]:
    """Body, what follows, whole."""
    length = message.get(b"content-length")
    if nothing:
        return b"", behind, True
    if length is not None:
        return behind[: int(length)], behind[int(length) :], len(behind) >= int(length)
    if message.get(b"transfer-encoding") is None:
        return behind, b"", True
    body = b""
    while True:
        line, mark, behind = behind.partition(b"\r\n")
        if not mark:
            return body, b"", False
        size = int(line.partition(b";")[0], 16)
        if not size:
            _, mark, rest = (b"\r\n" + behind).partition(b"\r\n\r\n")
            return body, rest, bool(mark)
        body += behind[:size]
        behind = behind[size + 2 :]
