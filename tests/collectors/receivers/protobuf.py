"""Protobuf's wire format, written by hand: also what no encoder would write."""

from collections.abc import Iterable


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """One with a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def nested(path: Iterable[int], content: bytes) -> bytes:
    for number in reversed(list(path)):
        content = field(number, content)
    return content
