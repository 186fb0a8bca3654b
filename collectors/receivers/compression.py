"""Decompression that stops at a limit."""

import zlib


class BrokenCompression(Exception):
    """The bytes are no gzip."""


class InflatesTooFar(BrokenCompression):
    """They become more than is allowed."""


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Decompress gzip, of one member or several after each other. Never holds more than `max_bytes` of result.

    Raises InflatesTooFar, or BrokenCompression for what is no gzip or not whole.
    """
    result = bytearray()
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            result += member.decompress(data, max_bytes - len(result) + 1)
        except zlib.error as error:
            raise BrokenCompression(f"broken gzip: {error}") from error
        if len(result) > max_bytes:
            raise InflatesTooFar(f"it inflates to more than {max_bytes} bytes")
        if not member.eof:
            raise BrokenCompression("gzip ends early")
        data = member.unused_data
    return bytes(result)
