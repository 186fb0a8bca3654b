"""Fields -> header blocks (RFC 7541).

Strings go as they are: Huffman's code would save a quarter of the octets of what is sent once, and cost more CPU than
all the rest. A field is put into the table when it comes the second time, so that what differs from request to
request (ids, timestamps) never pushes out what does not.
"""

from collections import deque
from typing import Final

from sidecar.http.h2.hpack_static import ENTRY_OVERHEAD, FIRST_DYNAMIC, NAMES, WHOLE
from sidecar.http.head import Header

MAX_TABLE_OCTETS: Final = 4096
"""What we use of a larger table that a peer offers."""

_SECRET: Final = frozenset([b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"])
"""Never indexed, here and further on (RFC 7541 7.1.3): clients of one upstream connection could guess each other's."""

_MAX_REMEMBERED: Final = 64


class HpackEncoder:
    """One connection's, one direction's. Blocks must be sent in the order in which they were made."""

    def __init__(self) -> None:
        self._capacity = MAX_TABLE_OCTETS
        self._octets = 0
        self._inserted = 0
        self._fields: dict[Header, int] = {}  # each with its number, counted from the first ever inserted
        self._names: dict[bytes, int] = {}
        self._order: deque[Header] = deque()
        self._once: set[int] = set()
        self._updates: list[int] = []

    def set_limit(self, octets: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; the next block says what we make of it (RFC 7541 4.2)."""
        capacity = min(octets, MAX_TABLE_OCTETS)
        if capacity == self._capacity:
            return
        # Of several changes between two blocks the smallest and the last are told.
        self._updates = [*([min(self._updates)] if self._updates and min(self._updates) < capacity else []), capacity]
        self._capacity = capacity
        self._evict()

    def encode(self, headers: list[Header], never_indexed: list[bytes] | None = None) -> bytes:
        """`never_indexed`: names that came so and must go so (RFC 7541 6.2.3), besides those that are always."""
        parts: list[bytes] = []
        if self._updates:
            parts += [_integer(0x20, 0x1F, size) for size in self._updates]
            self._updates = []
        known = self._fields
        for header in headers:
            whole = WHOLE.get(header)
            if whole is not None:
                parts.append(whole)
                continue
            number = known.get(header)
            if number is None:
                parts.append(self._literal(header, never_indexed))
                continue
            parts.append(_INDEXED[self._inserted - number])
        return b"".join(parts)

    def _literal(self, header: Header, never_indexed: list[bytes] | None) -> bytes:
        name, value = header
        index = NAMES.get(name, 0)
        if index == 0:
            number = self._names.get(name, 0)
            if number:
                index = self._inserted - number + FIRST_DYNAMIC
        if name in _SECRET or (never_indexed is not None and name in never_indexed):
            return _pair(0x10, 0x0F, index, name, value)
        mark = hash(header)
        if mark not in self._once or len(name) + len(value) > self._capacity >> 2:
            if len(self._once) >= _MAX_REMEMBERED:
                self._once.clear()
            self._once.add(mark)
            return _pair(0x00, 0x0F, index, name, value)
        self._once.discard(mark)
        self._insert(header)
        return _pair(0x40, 0x3F, index, name, value)

    def _insert(self, header: Header) -> None:
        self._inserted += 1
        self._fields[header] = self._names[header[0]] = self._inserted
        self._order.append(header)
        self._octets += len(header[0]) + len(header[1]) + ENTRY_OVERHEAD
        self._evict()

    def _evict(self) -> None:
        while self._octets > self._capacity:
            gone = self._order.popleft()
            self._octets -= len(gone[0]) + len(gone[1]) + ENTRY_OVERHEAD
            if self._names[gone[0]] == self._fields.pop(gone):
                del self._names[gone[0]]


def _integer(pattern: int, mask: int, value: int) -> bytes:
    """5.1, behind the bits of `pattern`."""
    if value < mask:
        return bytes((pattern | value,))
    octets = [pattern | mask]
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _pair(pattern: int, mask: int, index: int, name: bytes, value: bytes) -> bytes:
    """6.2: a literal, its name by index or, for 0, in full."""
    start = _integer(pattern, mask, index)
    if index == 0:
        start += _length(name) + name
    return start + _length(value) + value


def _length(text: bytes) -> bytes:
    size = len(text)
    return _LENGTHS[size] if size < 0x7F else _integer(0, 0x7F, size)


_LENGTHS: Final = [bytes((size,)) for size in range(0x7F)]
_INDEXED: Final = [_integer(0x80, 0x7F, FIRST_DYNAMIC + age) for age in range(MAX_TABLE_OCTETS // ENTRY_OVERHEAD + 1)]
"""Of the dynamic table's entries by age."""
