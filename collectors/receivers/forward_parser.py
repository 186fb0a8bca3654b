"""Fluentd's forward protocol, version 1: bytes in, deliveries out. No I/O.

Message, Forward, PackedForward and CompressedPackedForward modes as in the specification (fluentd's wiki, "Forward
Protocol Specification v1"); nil is a heartbeat. Anything else is a ProtocolError, after which the parser is of no use:
the connection ends. What hostile bytes can make us allocate is bounded: sizes, the number of elements, lengths that
headers announce (a list is allocated at its announced length) and what compressed entries inflate to.
"""

import struct
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgpack

from collectors.receivers.compression import BrokenCompression, inflate
from collectors.receivers.entries import Event, events_of, record_of, time_of

MAX_TAG_CHARS = 512
MAX_CHUNK_CHARS = 256
MAX_OPTIONS_BYTES = 64 * 1024
"""Of a message's options: a chunk id, a count, a word or two."""

EVENT_BYTES = 256
"""What an entry takes in memory at least."""

_PIECE_BYTES = 256 * 1024
_EVENT_TIME = struct.Struct(">II")
_RAW_WIDTHS = {0xD9: 1, 0xC4: 1, 0xDA: 2, 0xC5: 2, 0xDB: 4, 0xC6: 4}
"""Bytes of the length, by the first byte of a long str or bin."""
_END = b"\xc0"
"""nil: no entry is one."""


class ProtocolError(Exception):
    """The peer does not speak the protocol, or asks for more than we give; the connection ends."""


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """What one connection may make us hold."""

    max_message_bytes: int = 16 * 1024 * 1024
    """One message as sent. Fluentd's chunks are 8 MiB at most by default."""
    max_inflated_bytes: int = 32 * 1024 * 1024
    """Its entries after decompression."""
    max_entries: int = 262_144
    """In one message: a kilobyte of gzip has half a million. As many of 128 bytes are what may inflate."""
    max_elements: int = 2_000_000
    """Values of all kinds in one message."""
    max_array: int = 4_096
    """Elements of one array within a record."""
    max_map: int = 4_096


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: what is stored together and, if it has a chunk id, acknowledged."""

    tag: str
    events: list[Event]
    chunk: str | None
    size_bytes: int
    """As it came, or inflated if that is more; EVENT_BYTES for each event if that is even more."""


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

    def drop(self) -> None:
        """Hold nothing any more. Afterwards the parser is of no use."""
        self._pending = bytearray()
        self._framer = None

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
        unpacker = self._unpacker(message)
        width = unpacker.read_array_header()
        if not 2 <= width <= 4:
            raise ProtocolError(f"a message of {width} elements")
        tag = _tag(unpacker.unpack())
        begin = unpacker.tell()
        kind = message[begin]
        if 0x90 <= kind <= 0x9F or kind in (0xDC, 0xDD):
            return self._forward(unpacker, width, tag, len(message))
        span = _raw_span(message, begin)
        if span is not None:
            return self._packed(message, span, width, tag)
        time = time_of(unpacker.unpack())
        if width < 3:
            raise ProtocolError("a message without a record")
        event = Event(time, record_of(unpacker.unpack()))
        chunk, _ = _options(unpacker.unpack() if width > 3 else None)
        return Delivery(tag, [event], chunk, max(len(message), EVENT_BYTES))

    def _forward(self, unpacker: Any, width: int, tag: str, size: int) -> Delivery:
        count = unpacker.read_array_header()
        self._check_entries(count)
        self._count(count)
        # One by one: what the header announces is not allocated before it is there.
        events = events_of([unpacker.unpack() for _ in range(count)])
        _check_width(width)
        chunk, compressed = _options(unpacker.unpack() if width == 3 else None)
        if compressed:
            raise ProtocolError("compressed entries must be packed")
        return Delivery(tag, events, chunk, max(size, EVENT_BYTES * len(events)))

    def _packed(self, message: bytes, span: tuple[int, int], width: int, tag: str) -> Delivery:
        # As bytes, also where an old sender packs entries as a str: msgpack's text would not give the same bytes back.
        packed: memoryview | bytes = memoryview(message)[slice(*span)]
        _check_width(width)
        if len(message) - span[1] > MAX_OPTIONS_BYTES:
            raise ProtocolError(f"options of more than {MAX_OPTIONS_BYTES} bytes")
        options = message[span[1] :]
        chunk, compressed = _options(msgpack.unpackb(options, unicode_errors="replace") if width == 3 else None)
        if compressed:
            try:
                packed = inflate(packed, self._limits.max_inflated_bytes)
            except BrokenCompression as error:
                raise ProtocolError(str(error)) from error
        unpacker = self._unpacker(packed)
        # An entry that is cut off takes the nil for its own, so that it is not the last value any more.
        unpacker.feed(_END)
        entries = list(islice(unpacker, self._limits.max_entries + 2))
        self._check_entries(len(entries) - 1)
        if not entries or entries.pop() is not None:
            raise ProtocolError("packed entries end within an entry")
        size = max(len(message), len(packed), EVENT_BYTES * len(entries))
        return Delivery(tag, events_of(entries), chunk, size)

    def _unpacker(self, data: bytes | memoryview) -> Any:
        limits = self._limits
        # Each value takes a byte at least: values of a message that is not larger need no counting.
        counted = len(data) > limits.max_elements
        unpacker = msgpack.Unpacker(
            max_buffer_size=len(data) + len(_END),
            # String keys only: Python's hash of integers can be made to collide.
            strict_map_key=True,
            # Bytes that are no UTF-8 become U+FFFD.
            unicode_errors="replace",
            max_array_len=limits.max_array,
            max_map_len=limits.max_map,
            max_str_len=len(data),
            max_bin_len=len(data),
            max_ext_len=4_096,
            timestamp=1,
            ext_hook=_extension,
            list_hook=self._count_list if counted else None,
            object_hook=self._count_map if counted else None,
        )
        unpacker.feed(data)
        return unpacker

    def _check_entries(self, count: int) -> None:
        if count > self._limits.max_entries:
            raise ProtocolError(
                f"more than {self._limits.max_entries} entries in a message: let its sender make smaller chunks, or "
                "raise max_entries"
            )

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
    return value


def _check_width(width: int) -> None:
    if width > 3:
        raise ProtocolError(f"a forward message of {width} elements")


def _raw_span(message: bytes, begin: int) -> tuple[int, int] | None:
    """Where the content of the str or bin at `begin` is; None if it is neither."""
    kind = message[begin]
    if 0xA0 <= kind <= 0xBF:
        start, size = begin + 1, kind & 0x1F
    elif (width := _RAW_WIDTHS.get(kind, 0)) != 0:
        start = begin + 1 + width
        size = int.from_bytes(message[begin + 1 : start], "big")
    else:
        return None
    return start, start + size


def _options(value: Any) -> tuple[str | None, bool]:
    """The chunk id, and whether entries are compressed. Other options are hints (`size`) or other programs' own."""
    if value is None:
        return None, False
    if type(value) is not dict:
        raise ProtocolError("options that are no map")
    options = {key if type(key) is str else bytes(key).decode("utf-8", "replace"): one for key, one in value.items()}
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
    return chunk, compressed == "gzip"
