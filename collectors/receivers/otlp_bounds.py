"""How much one OTLP request may become: a few kilobytes of gzip can stand for millions of records, and the size of a
body says little of what its records take in memory. No I/O; bytes are looked at before anything is built of them.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

MAX_PARTS: Final = 131_072
"""Resources, scopes, records, spans, metrics and points of one request, and the fields beside them. Real ones take 64
bytes and more each; senders' batches have some thousands."""

MAX_ELEMENTS: Final = 1_048_576
"""Attributes, their values and all else of one request that is a message or repeated; a pair of packed numbers is one.
Each takes two bytes of the wire and some fifty of memory, an attribute with its value six and a hundred."""

MAX_JSON_COMMAS: Final = 1_048_576
"""In one request's JSON, texts included: what is repeated may be numbers."""

MAX_JSON_CONTAINERS: Final = 524_288
"""Objects and lists in one request's JSON; an attribute has two."""

MAX_COPIED_BYTES: Final = 64 * 1024 * 1024
"""Of resources, as they are repeated in every record: what is stored of a record has all that its resource says."""

RECORD_BYTES: Final = 512
"""What a record takes in memory beside its bytes."""

_RESOURCES_AND_SCOPES = (frozenset({1}), frozenset({2}))
_LEVELS: Final[dict[str, tuple[frozenset[int], ...]]] = {
    "ExportLogsServiceRequest": _RESOURCES_AND_SCOPES,
    "ExportTraceServiceRequest": _RESOURCES_AND_SCOPES,
    # Metrics, and their data: gauge, sum, histogram, exponential histogram, summary.
    "ExportMetricsServiceRequest": (*_RESOURCES_AND_SCOPES, frozenset({2}), frozenset({5, 7, 9, 10, 11})),
}
"""The numbers of the fields that hold parts, level by level (opentelemetry-proto)."""

_MAX_VARINT_BYTES = 10
_MAX_DEPTH = 100
"""Protobuf's own, of messages in each other."""
_ELEMENT_BYTES = 2
"""An element's least."""


class TooMuch(Exception):
    """A request that would become more than we hold, or is no protobuf; the sender is to split it."""


def check_json(body: bytes) -> None:
    """Raises TooMuch."""
    if body.count(b"{") + body.count(b"[") > MAX_JSON_CONTAINERS:
        raise TooMuch(f"has more than {MAX_JSON_CONTAINERS} objects and lists; send smaller batches")
    if body.count(b",") > MAX_JSON_COMMAS:
        raise TooMuch(f"has more than {MAX_JSON_COMMAS} commas; send smaller batches")


def check_parts(request: str, body: bytes) -> None:
    """Count what is in the protobuf message `request`, by name. Raises TooMuch."""
    _walk(body, 0, len(body), _LEVELS[request], MAX_PARTS)


def check_elements(descriptor: Any, body: bytes) -> None:
    """Count what the protobuf message `descriptor` would be made of. Raises TooMuch."""
    # Nearly all requests cannot have too many, by their size or by the bytes that are in them, and are not read twice.
    if len(body) <= _ELEMENT_BYTES * MAX_ELEMENTS:
        return
    keys = _first_bytes(descriptor)
    if not keys or len(body) - len(body.translate(None, keys)) > MAX_ELEMENTS:
        _count(body, 0, len(body), _shape(descriptor), MAX_ELEMENTS, 0)


@dataclass(slots=True)
class _Shape:
    """What of a message's fields makes elements, by number."""

    messages: dict[int, "_Shape"] = field(default_factory=dict)
    packable: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)
    """Every other repeated field."""


@cache
def _shape(descriptor: Any) -> _Shape:
    return _shapes(descriptor)[descriptor.full_name]


@cache
def _first_bytes(descriptor: Any) -> bytes:
    """Those that an element may begin with; empty where elements may be packed, which have no beginning."""
    found = set()
    for shape in _shapes(descriptor).values():
        if shape.packable:
            return b""
        for number in (*shape.messages, *shape.repeated):
            low = (number << 3 | 2) & 0x7F
            found |= {low, low | 0x80}  # a number may be written longer than it needs to be
    return bytes(found)


def _shapes(descriptor: Any) -> dict[str, _Shape]:
    """Of all messages that are within one, by name."""
    known: dict[str, _Shape] = {}

    def of(each: Any) -> _Shape:
        if each.full_name not in known:
            shape = known[each.full_name] = _Shape()  # AnyValue is within itself
            for one in each.fields:
                if one.message_type is not None:
                    shape.messages[one.number] = of(one.message_type)
                elif one.is_repeated:
                    (shape.packable if one.is_packed else shape.repeated).add(one.number)
        return known[each.full_name]

    of(descriptor)
    return known


def _count(body: bytes, at: int, end: int, shape: _Shape, left: int, depth: int) -> int:
    """How many elements may still come. What is broken is the decoder's to say, but for what leads astray here."""
    if depth > _MAX_DEPTH:
        raise TooMuch(f"is nested more than {_MAX_DEPTH} deep")
    messages = shape.messages
    while at < end:
        key = body[at]
        at += 1
        if key > 0x7F:
            key, at = _varint(body, at - 1, end)
        kind, number = key & 7, key >> 3
        if kind == 2:
            length, at = (body[at], at + 1) if at < end and body[at] < 0x80 else _varint(body, at, end)
            if number in messages:
                left -= 1
                if 0 < length <= end - at:
                    left = _count(body, at, at + length, messages[number], left, depth + 1)
            elif number in shape.repeated:
                left -= 1
            elif number in shape.packable:
                left -= min(length, end - at) // _ELEMENT_BYTES
            at += length
        elif kind == 0:
            _, at = _varint(body, at, end)
            left -= number in shape.packable
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            left -= number in shape.packable
        else:
            raise TooMuch("has a group, which no field of OTLP is")
        if left < 0:
            raise TooMuch(f"has more than {MAX_ELEMENTS} attributes, values and other elements; send smaller batches")
    if at > end:
        raise TooMuch("ends within a field")
    return left


def check_copies(copied: int, resource_bytes: int, records: int) -> int:
    """`copied` bytes, and those of a resource that `records` records repeat. Raises TooMuch."""
    copied += resource_bytes * records
    if copied > MAX_COPIED_BYTES:
        raise TooMuch(f"repeats more than {MAX_COPIED_BYTES} bytes of resources in its records; send smaller batches")
    return copied


def _walk(body: bytes, at: int, end: int, levels: tuple[frozenset[int], ...], left: int) -> int:
    """How many parts may still come."""
    wanted = levels[0] if levels else frozenset()
    while at < end:
        left -= 1
        if left < 0:
            raise TooMuch(f"has more than {MAX_PARTS} parts; send smaller batches")
        key, at = _varint(body, at, end)
        match key & 7:
            case 2:  # what has a length
                length, at = _varint(body, at, end)
                if key >> 3 in wanted and length <= end - at:
                    left = _walk(body, at, at + length, levels[1:], left)
                at += length
            case 0:  # a number
                _, at = _varint(body, at, end)
            case 1:  # eight bytes
                at += 8
            case 5:  # four bytes
                at += 4
            case _:
                raise TooMuch("has a group, which no field of OTLP is")
    if at > end:
        raise TooMuch("ends within a field")
    return left


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for index, octet in enumerate(body[at : min(end, at + _MAX_VARINT_BYTES)]):
        value |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            return value, at + index + 1
    raise TooMuch("ends within a number")
