"""The WebSocket handshake's proof, which HTTP/1.1 has and HTTP/2 does not. RFC 6455 4.2.2, RFC 8441 5."""

import hashlib
from base64 import b64encode
from typing import Final

from sidecar.http.head import Header

PROTOCOL: Final = b"websocket"
KEY: Final = b"sec-websocket-key"
ACCEPT: Final = b"sec-websocket-accept"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def make_key(nonce: bytes) -> bytes:
    """`sec-websocket-key` of 16 octets."""
    return b64encode(nonce)


def accept_of(key: bytes) -> bytes:
    """The `sec-websocket-accept` that answers a key. SHA-1 is the protocol's word, no secret depends on it."""
    return b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def without(headers: list[Header], name: bytes) -> list[Header]:
    """`headers` without the fields of that name."""
    return [header for header in headers if header[0] != name]
