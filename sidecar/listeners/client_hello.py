"""What a TLS client says before anything is decided: server name and protocols. Read, never answered; pure.

RFC 8446 4.1.2 (ClientHello), RFC 6066 3 (server_name), RFC 7301 3.1 (ALPN). The message may be split over records.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_HELLO_BYTES: Final = 32 * 1024
"""Records included. What browsers send is below 2 KiB; Envoy's tls_inspector looks at 64 KiB."""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RECORD_HEADER: Final = 5
_MAX_RECORD: Final = 16 * 1024
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_HOST_NAME: Final = 0


class NotClientHello(Exception):
    """The bytes can not become a ClientHello; the text says why."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The two things that filter chains are chosen by."""

    server_name: str | None = None
    """In lower case; None where the client names no server."""
    protocols: tuple[str, ...] = ()
    """ALPN, as offered."""


def parse(data: bytes) -> ClientHello | int:
    """`data` is a connection's first bytes. An integer: how many there must be, at least, before it is worth looking
    again. Raises NotClientHello."""
    message = bytearray()
    at = 0
    needed = _RECORD_HEADER
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        needed = at + _RECORD_HEADER
        if len(data) < needed:
            return _bounded(needed)
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            raise NotClientHello("no TLS handshake record")
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if not 0 < size <= _MAX_RECORD:
            raise NotClientHello(f"a handshake record of {size} bytes")
        message += data[at + _RECORD_HEADER : at + _RECORD_HEADER + size]
        if message[:1] and message[0] != _CLIENT_HELLO:
            raise NotClientHello("the first handshake message is no ClientHello")
        if len(message) >= 4:
            _bounded(4 + int.from_bytes(message[1:4], "big"))
        at += _RECORD_HEADER + size
        if len(data) < at:
            return _bounded(at)
    return _read(bytes(message[4 : 4 + int.from_bytes(message[1:4], "big")]))


def _bounded(needed: int) -> int:
    if needed > MAX_HELLO_BYTES:
        raise NotClientHello(f"a ClientHello of more than {MAX_HELLO_BYTES} bytes")
    return needed


class _Cursor:
    """Reads vectors with their lengths in front."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NotClientHello("a field is longer than the ClientHello")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))


def _read(body: bytes) -> ClientHello:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # legacy_version, random
    cursor.vector(1)  # legacy_session_id
    cursor.vector(2)  # cipher_suites
    cursor.vector(1)  # legacy_compression_methods
    if not cursor.left:
        return ClientHello()  # TLS 1.0 allows for no extensions at all
    server_name: str | None = None
    protocols: tuple[str, ...] = ()
    seen: set[int] = set()
    for kind, content in _extensions(cursor.vector(2)):
        if kind in seen:  # RFC 8446 4.2; two server names could be read differently by two servers
            raise NotClientHello("an extension is there twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            server_name = _server_name(content)
        elif kind == _ALPN:
            protocols = _protocols(content)
    return ClientHello(server_name, protocols)


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    cursor = _Cursor(data)
    while cursor.left:
        kind = cursor.number(2)
        yield kind, cursor.vector(2)


def _server_name(content: bytes) -> str | None:
    cursor = _Cursor(_Cursor(content).vector(2))
    while cursor.left:
        kind = cursor.number(1)
        name = cursor.vector(2)
        if kind == _HOST_NAME:
            if not name or len(name) > 255 or any(not 0x21 <= byte <= 0x7E for byte in name):
                raise NotClientHello("the server's name is none")
            return name.decode("ascii").lower().removesuffix(".")
    return None


def _protocols(content: bytes) -> tuple[str, ...]:
    cursor = _Cursor(_Cursor(content).vector(2))
    found: list[str] = []
    while cursor.left:
        name = cursor.vector(1)
        if not name:
            raise NotClientHello("an empty protocol name")
        found.append(name.decode("ascii", "backslashreplace"))
    return tuple(found)
