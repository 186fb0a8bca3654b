"""grpc.health.v1.Health/Check as the kubelet asks it, over a connection of ours.

gRPC's own client can not be told which source address to use, and without that the pod's capture would send the probe
through the sidecar (see app_probes). The messages are two fields: https://github.com/grpc/grpc-proto health.proto.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from sidecar.agent.probe_failure import ProbeFailed
from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.events import TRAILERS, ConnectionFailed, Data, GoneAway, Headers, Reset
from sidecar.http.h2.settings import Limits, Settings
from sidecar.pod import GrpcHealth

SERVING = 1
_STATUS_WORDS = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_ANSWER_BYTES = 4096
_PIECE_BYTES = 16 * 1024
_UNIMPLEMENTED = b"12"

Dial = Callable[[str, int, ssl.SSLContext | None], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def check(action: GrpcHealth, address: str, agent: str, dial: Dial, clock: Callable[[], float]) -> None:
    """Returns if the service serves. Raises ProbeFailed, OSError. Unbounded in time: the caller is not."""
    reader, writer = await dial(address, action.port, None)
    try:
        call = _Call(action.service, f"{_in_url(address)}:{action.port}", agent, clock)
        writer.write(call.output())
        while not call.over:
            data = await reader.read(_PIECE_BYTES)
            if not data:
                raise ProbeFailed("the connection was closed before the answer was whole")
            call.receive(data)
            writer.write(call.output())
        call.judge()
    finally:
        writer.transport.abort()


class _Call:
    """One unary call on a connection of its own."""

    def __init__(self, service: str, authority: str, agent: str, clock: Callable[[], float]) -> None:
        self._codec = H2Connection(client=True, settings=Settings(), limits=Limits(), clock=clock)
        self._codec.start()
        name = service.encode()
        message = (b"\x0a" + _varint(len(name)) + name) if name else b""
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/grpc.health.v1.Health/Check"),
            (b":authority", authority.encode("ascii")),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", agent.encode("ascii", "replace")),
        ]
        stream = self._codec.open_stream(fields, False)
        self._codec.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message, True)
        self.over = False
        self._answer = bytearray()
        self._http_status = 0
        self._status = b""
        self._message = b""

    def output(self) -> bytes:
        return self._codec.take_output()

    def receive(self, data: bytes) -> None:
        """Raises ProbeFailed."""
        for event in self._codec.receive(data):
            if isinstance(event, Headers):
                self._head(event)
            elif isinstance(event, Data):
                self._answer += event.data
                self.over = self.over or event.end
                if len(self._answer) > _MAX_ANSWER_BYTES:
                    raise ProbeFailed(f"the answer is longer than {_MAX_ANSWER_BYTES} bytes")
            elif isinstance(event, Reset):
                raise ProbeFailed(f"the call was reset with code {event.code}")
            elif isinstance(event, ConnectionFailed):
                raise ProbeFailed(f"it does not speak HTTP/2: {event.details}")
            elif isinstance(event, GoneAway) and event.code:
                raise ProbeFailed(f"it closed the connection with code {event.code}")

    def _head(self, event: Headers) -> None:
        if event.kind != TRAILERS:
            self._http_status = event.status
        for name, value in event.fields:
            if name == b"grpc-status":
                self._status = value
            elif name == b"grpc-message":
                self._message = value
        self.over = self.over or event.end

    def judge(self) -> None:
        """Raises ProbeFailed unless the answer is SERVING."""
        if self._http_status != 200:
            raise ProbeFailed(f"it answered with HTTP status {self._http_status}")
        if self._status == _UNIMPLEMENTED:
            raise ProbeFailed("it does not implement grpc.health.v1.Health")
        if self._status != b"0":
            status = self._status.decode("ascii", "replace")[:10]
            message = self._message.decode("ascii", "replace")[:200]
            raise ProbeFailed(f"it answered with gRPC status {status}: {message}")
        try:
            health = _health(bytes(self._answer))
        except ValueError as error:
            raise ProbeFailed(f"the answer is no HealthCheckResponse: {error}") from error
        if health != SERVING:
            raise ProbeFailed(f"the service says {_STATUS_WORDS.get(health, str(health))}")


def _health(data: bytes) -> int:
    """`status` of the HealthCheckResponse in a length-prefixed message. Raises ValueError."""
    if len(data) < 5 or data[0] != 0 or int.from_bytes(data[1:5], "big") != len(data) - 5:
        raise ValueError("it is not one uncompressed message")
    status, at = 0, 5
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            status = value if tag >> 3 == 1 else status
        elif kind == 2:
            length, at = _read_varint(data, at)
            at += length
        else:
            at += {1: 8, 5: 4}.get(kind, len(data) + 1)
    if at != len(data):
        raise ValueError("it is cut off")
    return status


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("it is cut off")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
