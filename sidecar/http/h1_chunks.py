"""The chunked coding -> data and trailers. RFC 9112 7.1; extensions are checked for their bytes and dropped."""

import re
from typing import Any, Final

from sidecar.http import fields
from sidecar.http.errors import ProtocolError
from sidecar.http.h1_lines import CODEC_ERROR, LENGTH, FieldReader, Special
from sidecar.http.head import Header, Trailers

MAX_FRAMING_BYTES: Final = 8 * 1024
"""Size lines over 32 bytes per chunk, and trailers, of one body; more is a malformed message."""

MAX_TRAILERS: Final = 100

_FREE_BYTES: Final = 32
_SMALL_CHUNK_BYTES: Final = 1024

_CR: Final = 13
_LF: Final = 10

_SIZE: Final = 0
_DATA: Final = 1
_BEHIND_DATA: Final = 2
_TRAILERS: Final = 3

# 15 digits: no size that any arithmetic of 64 bits could read differently.
_size_line: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~]*)?\r").fullmatch

_SIZES: Final[dict[bytes, int]] = {}
"""Size lines, with their CR, that were read before: a server's chunks are mostly of one size."""


class ChunkReader:
    """Reads one chunked body after another. Holds no data: what is incomplete stays with the caller."""

    __slots__ = ("_framing", "_left", "_lines", "_state", "_trailers", "whole")

    def __init__(self, lines: FieldReader) -> None:
        self._lines = lines
        self._trailers: list[Header] = []
        self.begin()

    def begin(self) -> None:
        """A body begins."""
        self._state = _SIZE
        self._left = 0
        self._framing = 0
        self.whole = False
        """The last chunk and the trailers were read."""

    def read(self, data: bytes, at: int, events: list[Any]) -> int:
        """Append data and Trailers from `data[at:]` to `events`; returns how far it came.

        What is behind that must be offered again in front of what follows. Raises ProtocolError (400), after it has
        appended what was in order.
        """
        if self._state == _SIZE and data[-7:] == b"\r\n0\r\n\r\n":
            # The usual small answer: one chunk and the last, nothing else.
            cut = data.find(b"\n", at)
            size = _SIZES.get(data[at:cut])
            if size and cut + size + 8 == len(data):
                events.append(data[cut + 1 : -7])
                self.whole = True
                return cut + size + 8
        pieces: list[bytes] = []
        try:
            at = self._read(data, at, pieces)
        finally:
            if len(pieces) > 1 and len(data) < len(pieces) * _SMALL_CHUNK_BYTES:
                # Many small chunks are one piece: nobody behind us should pay for each of them.
                events.append(b"".join(pieces))
            else:
                events += pieces
        if self._trailers and self.whole:
            trailers = fields.trailing(self._trailers)
            self._trailers = []
            if trailers:
                events.append(Trailers(trailers))
        return at

    def _read(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = len(data)
        while at < end:
            state = self._state
            if state == _SIZE:
                cut = data.find(b"\n", at)
                if cut < 0:
                    self._check_rest(data[at:])
                    return at
                line = data[at:cut]
                at = cut + 1
                size = _SIZES.get(line)
                if size is None:
                    size = self._size(line)
                stop = at + size
                if stop + 1 < end and data[stop] == _CR and data[stop + 1] == _LF:
                    if not size:
                        self.whole = True
                        return stop + 2
                    pieces.append(data[at:stop])
                    at = stop + 2
                elif size:
                    self._left = size
                    self._state = _DATA
                else:
                    self._state = _TRAILERS
            elif state == _DATA:
                stop = at + self._left
                if stop > end:
                    pieces.append(data[at:] if at else data)
                    self._left = stop - end
                    return end
                pieces.append(data[at:stop])
                self._state = _BEHIND_DATA
                at = stop
            elif state == _BEHIND_DATA:
                if data[at : at + 2] != b"\r\n":
                    if data[at:] == b"\r":
                        return at
                    raise ProtocolError(400, CODEC_ERROR, "a chunk longer than its size")
                self._state = _SIZE
                at += 2
            else:
                cut = data.find(b"\n", at)
                if cut < 0:
                    self._check_rest(data[at:])
                    return at
                line = data[at:cut]
                at = cut + 1
                if line == b"\r":
                    self.whole = True
                    return at
                self._trailer(line)
        return at

    def _size(self, line: bytes) -> int:
        match = _size_line(line)
        if match is None:
            raise ProtocolError(400, CODEC_ERROR, "a malformed chunk size or extension")
        if len(line) > _FREE_BYTES:
            self._count(len(line) - _FREE_BYTES)
        size = int(match[1], 16)
        if len(line) < 8 and len(_SIZES) < 256:
            _SIZES[line] = size
        return size

    def _trailer(self, line: bytes) -> None:
        self._count(len(line) + 1)
        field = self._lines.read(line)
        if not isinstance(field, Special):
            if len(self._trailers) >= MAX_TRAILERS:
                raise ProtocolError(400, CODEC_ERROR, "too many trailers")
            self._trailers.append(field)
        elif field.kind == LENGTH or field.name == b"transfer-encoding":
            # What would frame a message must not even be tried behind it.
            raise ProtocolError(400, CODEC_ERROR, "a length among the trailers")

    def _check_rest(self, rest: bytes) -> None:
        """A line that is not whole yet."""
        if b"\r" in rest[:-1]:
            raise ProtocolError(400, CODEC_ERROR, "a bare CR in a chunk's framing")
        if self._framing + len(rest) > MAX_FRAMING_BYTES:
            raise ProtocolError(400, CODEC_ERROR, "chunk extensions or trailers without end")

    def _count(self, octets: int) -> None:
        self._framing += octets
        if self._framing > MAX_FRAMING_BYTES:
            raise ProtocolError(400, CODEC_ERROR, "chunk extensions or trailers without end")
