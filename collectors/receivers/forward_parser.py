"""Fluentd's forward protocol, version 1: bytes in, deliveries out. No I/O.

Message, Forward, PackedForward and CompressedPackedForward modes as in the specification (fluentd's wiki, "Forward
Protocol Specification v1"); nil is a heartbeat. Anything else is a ProtocolError, after which the parser is of no use:
the connection ends. What hostile bytes can make us allocate is bounded: sizes, the number of elements, lengths that
headers announce (a list is allocated at its announced length) and what compressed entries inflate to.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from collectors.receivers.compression import BrokenCompression, inflate

MAX_TAG_CHARS = 512
MAX_CHUNK_CHARS = 256
MAX_TIME_S = 253_402_300_800.0
"""Year 10,000."""
MAX_DEPTH = 32
"""Of containers within a record."""

_PIECE_BYTES = 256 * 1024
_EVENT_TIME = struct.Struct(">II")
_PLAIN = frozenset((str, int, float, bool, type(None)))


class ProtocolError(Exception):
    """The peer does not speak the protocol, or asks for more than we give; the connection ends."""


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """What one connection may make us hold."""

    max_message_bytes: int = 16 * 1024 * 1024
    """One message as sent. Fluentd's chunks are 8 MiB at most by default."""
    max_inflated_bytes: int = 32 * 1024 * 1024
    """Its entries after decompression."""
    max_elements: int = 2_000_000
    """Values of all kinds in one message."""
    max_array: int = 4_096
    """Elements of one array within a record."""
    max_map: int = 4_096


class Event(NamedTuple):
    """One entry."""

    time: float | None
    """Seconds since the Unix epoch; None if the sender gave none that makes sense."""
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: what is stored together and, if it has a chunk id, acknowledged."""

    tag: str
    events: list[Event]
    chunk: str | None
    size_bytes: int
    """As it came, or inflated if that is more."""


class ForwardParser:
    """One connection's bytes. Feed it; it returns what is complete."""

    def __init__(self, limits: ParserLimits | None = None) -> None:
        self._limits = limits or ParserLimits()
        self._pending = bytearray()
        self._framer = self._new_framer()
        self._framed = 0
        self._elements = 0

    def _new_framer(self) -> Any:
        # skip() only looks for the end of a value: it builds nothing, whatever the headers announce.
        # Its buffer holds what is left of one message and a piece; _complete checks the message's own size.
        return msgpack.Unpacker(max_buffer_size=self._limits.max_message_bytes + 2 * _PIECE_BYTES, read_size=16 * 1024)

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Delivery]:
        """Raises ProtocolError; what was complete before the error in the same bytes is lost with it, since nothing of
        it was acknowledged."""
        deliveries: list[Delivery] = []
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._framer.feed(piece)
            self._pending += piece
            for message in self._complete():
                delivery = self._parse(message)
                if delivery is not None:
                    deliveries.append(delivery)
        return deliveries

    def _complete(self) -> list[bytes]:
        messages: list[bytes] = []
        begin = 0
        while True:
            try:
                self._framer.skip()
            except msgpack.OutOfData:
                break
            except (ValueError, msgpack.UnpackException) as error:
                raise ProtocolError(f"not msgpack: {error}") from error
            end = self._framer.tell() - self._framed
            self._check_size(end - begin)
            messages.append(bytes(self._pending[begin:end]))
            begin = end
        if begin:
            del self._pending[:begin]
            self._framed += begin
        self._check_size(len(self._pending))
        return messages

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_message_bytes:
            raise ProtocolError(f"a message of more than {self._limits.max_message_bytes} bytes")

    def _parse(self, message: bytes) -> Delivery | None:
        if message == b"\xc0":
            return None
        self._elements = 0
        try:
            return self._parse_message(message)
        except ProtocolError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, msgpack.UnpackException) as error:
            raise ProtocolError(f"broken message: {error}") from error

    def _parse_message(self, message: bytes) -> Delivery:
        unpacker = self._unpacker(message, "surrogateescape")
        width = unpacker.read_array_header()
        if not 2 <= width <= 4:
            raise ProtocolError(f"a message of {width} elements")
        tag = _tag(unpacker.unpack())
        kind = message[unpacker.tell()]
        if 0x90 <= kind <= 0x9F or kind in (0xDC, 0xDD):
            return self._forward(unpacker, width, tag, len(message))
        second = unpacker.unpack()
        if isinstance(second, (str, bytes)):
            return self._packed(unpacker, width, tag, second, len(message))
        if width < 3:
            raise ProtocolError("a message without a record")
        event = Event(_time(second), _record(unpacker.unpack()))
        chunk, _ = _options(unpacker.unpack() if width > 3 else None)
        return Delivery(tag, [event], chunk, len(message))

    def _forward(self, unpacker: Any, width: int, tag: str, size: int) -> Delivery:
        count = unpacker.read_array_header()
        self._count(count)
        # One by one: what the header announces is not allocated before it is there.
        events = [_event(unpacker.unpack()) for _ in range(count)]
        chunk, compressed = _options(self._last(unpacker, width))
        if compressed:
            raise ProtocolError("compressed entries must be packed")
        return Delivery(tag, events, chunk, size)

    def _packed(self, unpacker: Any, width: int, tag: str, entries: str | bytes, size: int) -> Delivery:
        # Old senders pack entries as str; the escapes give the very bytes back.
        packed = entries.encode("utf-8", "surrogateescape") if isinstance(entries, str) else entries
        chunk, compressed = _options(self._last(unpacker, width))
        if compressed:
            try:
                packed = inflate(packed, self._limits.max_inflated_bytes)
            except BrokenCompression as error:
                raise ProtocolError(str(error)) from error
        inner = self._unpacker(packed, "replace")
        events: list[Event] = []
        end = 0
        for entry in inner:
            events.append(_event(entry))
            end = inner.tell()
        if end != len(packed):
            raise ProtocolError("packed entries end within an entry")
        return Delivery(tag, events, chunk, max(size, len(packed)))

    def _last(self, unpacker: Any, width: int) -> Any:
        if width > 3:
            raise ProtocolError(f"a forward message of {width} elements")
        return unpacker.unpack() if width == 3 else None

    def _unpacker(self, data: bytes, on_bad_utf8: str) -> Any:
        limits = self._limits
        unpacker = msgpack.Unpacker(
            max_buffer_size=max(len(data), 1),
            read_size=1,
            # String keys only: Python's hash of integers can be made to collide.
            strict_map_key=True,
            unicode_errors=on_bad_utf8,
            max_array_len=limits.max_array,
            max_map_len=limits.max_map,
            max_str_len=len(data),
            max_bin_len=len(data),
            max_ext_len=4_096,
            timestamp=1,
            ext_hook=_extension,
            list_hook=self._count_list,
            object_hook=self._count_map,
        )
        unpacker.feed(data)
        return unpacker

    def _count(self, elements: int) -> None:
        self._elements += elements + 1
        if self._elements > self._limits.max_elements:
            raise ProtocolError(f"more than {self._limits.max_elements} values in a message")

    def _count_list(self, value: list[Any]) -> list[Any]:
        self._count(len(value))
        return value

    def _count_map(self, value: dict[Any, Any]) -> dict[Any, Any]:
        self._count(len(value))
        return value


def render_ack(chunk: str) -> bytes:
    """The response that acknowledges a message: `{"ack": chunk}`."""
    return bytes(msgpack.packb({"ack": chunk}))


def _extension(code: int, data: bytes) -> Any:
    if code == 0 and len(data) == _EVENT_TIME.size:
        seconds, nanoseconds = _EVENT_TIME.unpack(data)
        return seconds + nanoseconds / 1e9
    return f"ext{code}:{data.hex()}"


def _tag(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TAG_CHARS:
        raise ProtocolError("a tag that is no short text")
    return _text(value)


def _event(entry: Any) -> Event:
    if type(entry) is not list or len(entry) < 2:
        raise ProtocolError("an entry that is not [time, record]")
    return Event(_time(entry[0]), _record(entry[1]))


def _time(value: Any) -> float | None:
    kind = type(value)
    if kind is not int and kind is not float:
        raise ProtocolError(f"a time that is a {kind.__name__}")
    if not 0 <= value < MAX_TIME_S:  # also false for NaN
        return None
    return float(value)


def _record(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ProtocolError("a record that is no map")
    # Most records are flat maps of text and numbers, and stay as they are.
    return value if _is_plain(value) else {_key(key): _plain(one, 1) for key, one in value.items()}


def _is_plain(record: dict[Any, Any]) -> bool:
    for key, value in record.items():
        kind = type(value)
        if kind is str:
            if not value.isascii():
                return False
        elif kind is float:
            if value - value != 0.0:  # infinite or NaN
                return False
        elif kind is not int and kind is not bool and value is not None:
            return False
        if type(key) is not str or not key.isascii():
            return False
    return True


def _key(value: Any) -> str:
    return _text(value) if isinstance(value, str) else bytes(value).decode("utf-8", "replace")


def _plain(value: Any, depth: int) -> Any:
    """Text, numbers, lists and maps alone, as JSON has them."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind in _PLAIN:
        return value
    if kind is bytes:
        return value.decode("utf-8", "replace")
    if depth >= MAX_DEPTH:
        raise ProtocolError(f"a record deeper than {MAX_DEPTH}")
    if kind is dict:
        return {_key(key): _plain(one, depth + 1) for key, one in value.items()}
    if kind is list:
        return [_plain(one, depth + 1) for one in value]
    raise ProtocolError(f"a value of type {kind.__name__}")


def _text(value: str) -> str:
    """Bytes that were no UTF-8 become U+FFFD."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _options(value: Any) -> tuple[str | None, bool]:
    """The chunk id, and whether entries are compressed. Other options are hints (`size`) or other programs' own."""
    if value is None:
        return None, False
    if type(value) is not dict:
        raise ProtocolError("options that are no map")
    options = {_key(key): one for key, one in value.items()}
    chunk = options.get("chunk")
    if isinstance(chunk, bytes):
        chunk = chunk.decode("ascii", "replace")
    if chunk is not None and (not isinstance(chunk, str) or not 0 < len(chunk) <= MAX_CHUNK_CHARS):
        raise ProtocolError("a chunk id that is no short text")
    compressed = options.get("compressed")
    if isinstance(compressed, bytes):
        compressed = compressed.decode("ascii", "replace")
    if compressed not in (None, "text", "gzip"):
        raise ProtocolError(f"entries compressed by {str(compressed)[:20]!r}, we know gzip")
    return None if chunk is None else _text(chunk), compressed == "gzip"
