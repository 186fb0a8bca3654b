"""Decompression that stops at a limit."""

import zlib

_PIECE_BYTES = 4 * 1024
"""What is left of a piece is copied at the end of each member: small pieces keep many small members cheap."""
_MAX_MEMBERS = 262_144
"""Fluentd appends one for each of its own batches to a chunk of 8 MiB; an empty one has 20 bytes."""


class BrokenCompression(Exception):
    """The bytes are no gzip."""


class InflatesTooFar(BrokenCompression):
    """They become more than is allowed."""


def inflate(data: bytes | memoryview, max_bytes: int) -> bytes:
    """Decompress gzip, of one member or several after each other. Never holds more than `max_bytes` of result.

    Raises InflatesTooFar, or BrokenCompression for what is no gzip or not whole.
    """
    result = bytearray()
    member = None
    members = 0
    view = memoryview(data)
    for start in range(0, len(view), _PIECE_BYTES):
        piece: bytes | memoryview = view[start : start + _PIECE_BYTES]
        while piece:
            if member is None:
                members += 1
                if members > _MAX_MEMBERS:
                    raise BrokenCompression(f"gzip of more than {_MAX_MEMBERS} members")
                member = zlib.decompressobj(wbits=31)
            try:
                result += member.decompress(piece, max_bytes - len(result) + 1)
            except zlib.error as error:
                raise BrokenCompression(f"broken gzip: {error}") from error
            if len(result) > max_bytes:
                raise InflatesTooFar(f"it inflates to more than {max_bytes} bytes")
            piece = member.unused_data
            if member.eof:
                member = None
    if member is not None:
        raise BrokenCompression("gzip ends early")
    return bytes(result)
