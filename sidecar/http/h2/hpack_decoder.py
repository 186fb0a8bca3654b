"""Header blocks -> fields (RFC 7541). What a field means is found out once for each entry of the table."""

from typing import Final

from sidecar.http.h2 import huffman
from sidecar.http.h2.hpack_static import FIRST_DYNAMIC, STATIC, Entry
from sidecar.http.head import Header

DEFAULT_TABLE_OCTETS: Final = 4096
"""RFC 9113 6.5.2, SETTINGS_HEADER_TABLE_SIZE before any SETTINGS."""

BOMB_FACTOR: Final = 4
"""A header list this many times over its limit is no mistake: decoding stops, the connection ends."""

_MAX_INTEGER_OCTETS: Final = 5
"""Beyond the prefix; RFC 7541 5.1 asks for a limit. Enough for 32 bits."""


class HpackError(Exception):
    """The block can not be decoded: COMPRESSION_ERROR, the connection's tables are out of step."""


class HeaderBomb(Exception):
    """The block stands for far more than it may."""


class HpackDecoder:
    """One connection's, one direction's. After HpackError or HeaderBomb it must not be used again."""

    def __init__(self, max_list_octets: int, max_fields: int) -> None:
        self._max_list = max_list_octets
        self._max_fields = max_fields
        self._dynamic: list[Entry] = []  # the newest last: an insertion moves nothing
        self._octets = 0
        self._capacity = DEFAULT_TABLE_OCTETS
        self._limit = DEFAULT_TABLE_OCTETS
        self._must_update = False
        self.kinds = 0
        """Of the last block: what `fields.classify` said of its fields, ored."""
        self.pseudo = 0
        """Of the last block: how many fields are pseudo-headers."""
        self.oversized = False
        """The last block had more fields or octets than allowed; those beyond are missing, the tables are right."""
        self.never_indexed: list[bytes] | None = None
        """Names in the last block that must be passed on as never indexed (RFC 7541 6.2.3)."""

    def set_limit(self, octets: int) -> None:
        """The peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE; its next block must confirm a smaller one."""
        self._limit = octets
        if self._capacity > octets:
            self._must_update = True

    def decode(self, block: bytes) -> list[Header]:
        """The fields in order. Raises HpackError, HeaderBomb."""
        self.kinds = self.pseudo = 0
        self.oversized = False
        self.never_indexed = None
        try:
            return self._fields(block)
        except IndexError:
            raise HpackError("a header block is cut off") from None
        except huffman.InvalidHuffman as error:
            raise HpackError(str(error)) from None

    def _fields(self, block: bytes) -> list[Header]:
        fields: list[Header] = []
        dynamic = self._dynamic
        kinds = pseudo = octets = 0
        at = 0
        end = len(block)
        while at < end:
            octet = block[at]
            at += 1
            if octet >= 0x80:  # an indexed field (6.1)
                index = octet & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                if index < FIRST_DYNAMIC:
                    if index == 0:
                        raise HpackError("index 0")
                    entry = STATIC[index]
                elif index - FIRST_DYNAMIC < len(dynamic):
                    entry = dynamic[FIRST_DYNAMIC - 1 - index]
                else:
                    raise HpackError("an index beyond the table")
            elif octet & 0xE0 == 0x20:  # a new table size (6.3)
                if octets:
                    raise HpackError("a table size update behind a field")
                size, at = (octet & 0x1F, at) if octet & 0x1F != 0x1F else _integer(block, at, 0x1F)
                self._resize(size)
                continue
            else:
                entry, at = self._literal(block, at, octet)
            if octets == 0 and self._must_update:
                raise HpackError("no table size update after SETTINGS asked for one")
            kinds |= entry.kind
            pseudo += entry.kind & 1
            octets += entry.size
            if octets <= self._max_list and len(fields) < self._max_fields:
                fields.append(entry.field)
            else:
                self._too_large(octets)
        self.kinds = kinds
        self.pseudo = pseudo
        return fields

    def _too_large(self, octets: int) -> None:
        self.oversized = True
        if octets > BOMB_FACTOR * self._max_list:
            raise HeaderBomb(f"a header list of more than {BOMB_FACTOR * self._max_list} octets")

    def _literal(self, block: bytes, at: int, octet: int) -> tuple[Entry, int]:
        """6.2: with incremental indexing, without, or never indexed."""
        mask = 0x3F if octet & 0x40 else 0x0F
        index = octet & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        if index == 0:
            name, at = _string(block, at)
        else:
            name = self._entry(index).field[0]
        value, at = _string(block, at)
        entry = Entry((name, value))
        if octet & 0x40:
            self._insert(entry)
        elif octet & 0x10:
            if self.never_indexed is None:
                self.never_indexed = []
            if len(self.never_indexed) < self._max_fields:
                self.never_indexed.append(name)
        return entry, at

    def _entry(self, index: int) -> Entry:
        if index < FIRST_DYNAMIC:
            return STATIC[index]
        if index - FIRST_DYNAMIC >= len(self._dynamic):
            raise HpackError("an index beyond the table")
        return self._dynamic[FIRST_DYNAMIC - 1 - index]

    def _insert(self, entry: Entry) -> None:
        """4.4: what is larger than the table empties it, and is no error."""
        self._octets += entry.size
        self._dynamic.append(entry)
        if self._octets > self._capacity:
            self._evict()

    def _evict(self) -> None:
        gone = 0
        for entry in self._dynamic:
            if self._octets <= self._capacity:
                break
            self._octets -= entry.size
            gone += 1
        del self._dynamic[:gone]

    def _resize(self, octets: int) -> None:
        if octets > self._limit:
            raise HpackError("a table size beyond what SETTINGS allow")
        self._must_update = False
        self._capacity = octets
        self._evict()


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """5.1, of which the prefix was all ones. Raises HpackError for one of more than 32 bits, IndexError."""
    value = prefix
    for shift in range(0, 7 * _MAX_INTEGER_OCTETS, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise HpackError("an integer without end")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """5.2. Raises HpackError, InvalidHuffman, IndexError."""
    octet = block[at]
    at += 1
    length = octet & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise HpackError("a header block is cut off")
    text = block[at:end]
    return (huffman.decode(text) if octet >= 0x80 else text), end
