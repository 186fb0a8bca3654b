"""Lists of resource names, each kept once and read once.

In the state-of-the-world protocol a sidecar names all its clusters with every acknowledgement of their endpoints: a
thousand sidecars a thousand names each, for one pod's change. The list is the same each time, to the byte.
"""

import weakref
from dataclasses import dataclass

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

_VERSION, _NODE, _NAMES = 0x0A, 0x12, 0x1A
"""Tags of DiscoveryRequest's fields, in the order in which every library writes them."""

WORTH_KEEPING = 16
"""Shorter lists are read sooner than recognised."""

MAX_TYPES = 16
"""Of which a stream's last lists are known. A client that makes up types gets nothing for it."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class NameList:
    """A list and its bytes in a request."""

    names: frozenset[str]
    wire: bytes


class NamePool:
    """Gives equal lists as one object, which can then be told apart, and remembered about, by identity."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[frozenset[str], weakref.ref[frozenset[str]]] = (
            weakref.WeakKeyDictionary()
        )
        self._lists: weakref.WeakValueDictionary[bytes, NameList] = weakref.WeakValueDictionary()

    def one(self, names: frozenset[str]) -> frozenset[str]:
        """The object that stands for all lists equal to this one."""
        known = self._names.get(names)
        found = None if known is None else known()
        if found is None:
            self._names[names] = weakref.ref(names)
            return names
        return found

    def of(self, wire: bytes, names: frozenset[str]) -> NameList:
        """The list that has these bytes."""
        found = self._lists.get(wire)
        if found is None:
            found = self._lists[wire] = NameList(self.one(names), wire)
        return found


class RequestReader:
    """Reads the requests of one stream."""

    def __init__(self, pool: NamePool) -> None:
        self._pool = pool
        self._known: dict[str, NameList] = {}
        """By type URL, the last long list."""

    def read(self, data: bytes) -> tuple[DiscoveryRequest, frozenset[str]]:
        """A request, without its names where they were known, and its names. Raises DecodeError."""
        start = _names_begin(data)
        if start is None:
            return self._anew(DiscoveryRequest.FromString(data))
        for known in self._known.values():
            end = start + len(known.wire)
            if data.startswith(known.wire, start) and data[end : end + 1] != bytes((_NAMES,)):
                message = DiscoveryRequest.FromString(data[:start] + data[end:])
                if not message.resource_names:
                    return message, known.names
        message, names = self._anew(DiscoveryRequest.FromString(data))
        if len(message.resource_names) >= WORTH_KEEPING and len(self._known) < MAX_TYPES:
            ends = _names_end(data, start, len(message.resource_names))
            if ends is not None:
                self._known[message.type_url] = self._pool.of(data[start:ends], names)
        return message, names

    def _anew(self, message: DiscoveryRequest) -> tuple[DiscoveryRequest, frozenset[str]]:
        return message, self._pool.one(frozenset(message.resource_names))


def _names_begin(data: bytes) -> int | None:
    """Where the names begin, if they come where they usually do."""
    at = 0
    while at < len(data) and data[at] in (_VERSION, _NODE):
        after = _skip(data, at)
        if after is None:
            return None
        at = after
    return at if at < len(data) and data[at] == _NAMES else None


def _names_end(data: bytes, at: int, count: int) -> int | None:
    """Where they end, if that is all of them."""
    for _ in range(count):
        after = _skip(data, at) if at < len(data) and data[at] == _NAMES else None
        if after is None:
            return None
        at = after
    return at


def _skip(data: bytes, at: int) -> int | None:
    """Behind the field of bytes at that place; None if there is none."""
    at += 1
    length = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at + length if at + length <= len(data) else None
        shift += 7
    return None
