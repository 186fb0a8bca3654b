"""A resource as bytes, from the moment it is made."""

import hashlib
from collections.abc import Callable, Mapping

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

_TYPE_PREFIX = "type.googleapis.com/"

References = Mapping[str, frozenset[str]]
"""The names that something refers to, by type URL."""


class Entry:
    """One resource, packed."""

    __slots__ = ("__weakref__", "_references", "digest", "type_url", "value")

    def __init__(self, name: str, type_url: str, value: bytes) -> None:
        named = name.encode()
        self.type_url = type_url
        self.value = value
        self._references: References | None = None
        hashed = hashlib.sha256(len(named).to_bytes(8, "big") + named)
        hashed.update(value)
        self.digest = int.from_bytes(hashed.digest(), "big")

    @property
    def message(self) -> AnyMessage:
        """As others take it."""
        return AnyMessage(type_url=self.type_url, value=self.value)

    def references(self, read: Callable[["Entry"], References]) -> References:
        """What it refers to, as `read` finds it; read once."""
        if self._references is None:
            self._references = read(self)
        return self._references

    def wire(self) -> bytes:
        """As one of a DiscoveryResponse's `resources` (field 2)."""
        url = self.type_url.encode()
        parts = (b"\x0a", _varint(len(url)), url, b"\x12", _varint(len(self.value)), self.value)
        return b"".join((b"\x12", _varint(sum(map(len, parts))), *parts))


def entry(name: str, message: Message) -> Entry:
    """The same message always gives the same bytes."""
    url = _TYPE_PREFIX + message.DESCRIPTOR.full_name
    return Entry(name, url, message.SerializeToString(deterministic=True))


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
