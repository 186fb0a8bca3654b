"""Frames built by hand, and the two ends of a connection: what the tests of HTTP/2 have in common."""

import struct
from collections.abc import Iterable

from sidecar.http.h2.connection import H2Connection
from sidecar.http.h2.errors import ErrorCode
from sidecar.http.h2.events import ConnectionFailed, Event, Refused, Reset
from sidecar.http.h2.frames import PREFACE
from sidecar.http.h2.hpack_encoder import HpackEncoder
from sidecar.http.h2.settings import Limits, Settings
from sidecar.http.head import Header

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS"),
    *("PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"),
)
DEFAULTS = Settings()
USUAL = Limits()


GET: list[Header] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.b"), (b":path", b"/")]
POST: list[Header] = [(b":method", b"POST"), *GET[1:]]
OK: list[Header] = [(b":status", b"200")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">HBBBL", size >> 8, size & 255, kind, flags, stream) + payload


def block(fields: Iterable[Header]) -> bytes:
    """A header block that needs no table: any encoder in any state of it makes no difference."""
    return HpackEncoder().encode(list(fields))


def headers(stream: int, fields: Iterable[Header], flags: int = END_HEADERS, extra: int = 0) -> bytes:
    return frame(HEADERS, flags | extra, stream, block(fields))


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, payload)


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    return frame(SETTINGS, flags, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: int, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last, code) + debug)


def parse(octets: bytes) -> list[tuple[str, int, int, bytes]]:
    """Frames as (type, flags, stream, payload)."""
    found = []
    while octets:
        high, low, kind, flags, stream = struct.unpack_from(">HBBBL", octets)
        size = high << 8 | low
        assert len(octets) >= 9 + size, "half a frame in the output"
        name = NAMES[kind] if kind < len(NAMES) else str(kind)
        found.append((name, flags, stream, octets[9 : 9 + size]))
        octets = octets[9 + size :]
    return found


class Clock:
    """Monotonic seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def server(
    ours: Settings = DEFAULTS, limits: Limits = USUAL, clock: Clock | None = None, *, settled: bool = True
) -> H2Connection:
    """Our server; `settled`: preface and SETTINGS are in, both acknowledgements done, and nothing is in the output."""
    made = H2Connection(client=False, settings=ours, limits=limits, clock=clock or Clock())
    made.start()
    if settled:
        made.receive(PREFACE + settings() + settings(flags=ACK))
        made.take_output()
    return made


def client(
    ours: Settings = DEFAULTS, limits: Limits = USUAL, clock: Clock | None = None, *, settled: bool = True
) -> H2Connection:
    """Our client, likewise."""
    made = H2Connection(client=True, settings=ours, limits=limits, clock=clock or Clock())
    made.start()
    if settled:
        made.receive(settings() + settings(flags=ACK))
        made.take_output()
    return made


def exchange(left: H2Connection, right: H2Connection) -> tuple[list[Event], list[Event]]:
    """Carry what each has to say to the other until both are silent: (what left heard, what right heard)."""
    heard_left: list[Event] = []
    heard_right: list[Event] = []
    while True:
        to_right, to_left = left.take_output(), right.take_output()
        if not to_right and not to_left:
            return heard_left, heard_right
        heard_right += right.receive(to_right)
        heard_left += left.receive(to_left)


def told(connection: H2Connection) -> list[str]:
    """The output, in words."""
    return [_words(*each) for each in parse(connection.take_output().removeprefix(PREFACE))]


def _words(name: str, flags: int, stream: int, payload: bytes) -> str:
    if name == "GOAWAY":
        return f"GOAWAY {int.from_bytes(payload[:4], 'big')} {ErrorCode(int.from_bytes(payload[4:8], 'big')).name}"
    if name == "RST_STREAM":
        return f"RST_STREAM {stream} {ErrorCode(int.from_bytes(payload, 'big')).name}"
    if name in ("SETTINGS", "PING"):
        return f"{name} ack" if flags & ACK else name
    if name == "WINDOW_UPDATE":
        return f"WINDOW_UPDATE {stream} +{int.from_bytes(payload, 'big')}"
    return f"{name} {stream}{' end' if flags & END_STREAM else ''}"


def heard(events: Iterable[Event]) -> list[str]:
    """Events, in words, without what was wrong: that is for people."""
    words = []
    for event in events:
        if isinstance(event, Reset):
            words.append(f"Reset {event.stream} {ErrorCode(event.code).name}{' local' if event.local else ''}")
        elif isinstance(event, Refused):
            words.append(f"Refused {event.stream} {ErrorCode(event.code).name}")
        elif isinstance(event, ConnectionFailed):
            words.append(f"ConnectionFailed {ErrorCode(event.code).name}")
        else:
            words.append(repr(event).strip("<>"))
    return words
