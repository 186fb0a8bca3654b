"""The frames' numbers, and the small frames as bytes (RFC 9113 4.1 and 6)."""

import struct
from typing import Final

from sidecar.http.h2.settings import MAX_WINDOW, Settings

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 3.4)."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8

_head: Final = struct.Struct(">HBBBL")
_setting: Final = struct.Struct(">HL")
read_head: Final = _head.unpack_from
"""Of an octet sequence at an offset: length >> 8, length & 255, type, flags, stream with its reserved bit."""

iter_settings: Final = _setting.iter_unpack
"""(identifier, value) of a SETTINGS payload whose length is a multiple of six."""


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine octets in front of a payload."""
    return _head.pack(length >> 8, length & 0xFF, kind, flags, stream)


def rst_stream(stream: int, code: int) -> bytes:
    return _head.pack(0, 4, RST_STREAM, 0, stream) + code.to_bytes(4, "big")


def window_update(stream: int, increment: int) -> bytes:
    return _head.pack(0, 4, WINDOW_UPDATE, 0, stream) + increment.to_bytes(4, "big")


def ping(opaque: bytes, ack: bool) -> bytes:
    return _head.pack(0, 8, PING, ACK if ack else 0, 0) + opaque


def goaway(last_stream: int, code: int, debug: bytes) -> bytes:
    payload = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + debug
    return head(len(payload), GOAWAY, 0, 0) + payload


SETTINGS_ACK: Final = _head.pack(0, 0, SETTINGS, ACK, 0)


def settings(ours: Settings, client: bool) -> bytes:
    """Our SETTINGS. A client offers no concurrency: it accepts no pushed stream."""
    pairs = [
        (HEADER_TABLE_SIZE, ours.header_table_size),
        (INITIAL_WINDOW_SIZE, min(ours.initial_window_size, MAX_WINDOW)),
        (MAX_FRAME_SIZE, ours.max_frame_size),
        (MAX_HEADER_LIST_SIZE, ours.max_header_list_size),
    ]
    if client:
        pairs.append((ENABLE_PUSH, 0))
    else:
        pairs.append((MAX_CONCURRENT_STREAMS, ours.max_concurrent_streams))
        if ours.enable_connect_protocol:
            pairs.append((ENABLE_CONNECT_PROTOCOL, 1))
    payload = b"".join([_setting.pack(identifier, value) for identifier, value in pairs])
    return head(len(payload), SETTINGS, 0, 0) + payload
