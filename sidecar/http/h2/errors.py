"""HTTP/2's error codes, and what inside the codec stops a connection or one stream. RFC 9113 5.4 and 7."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 9113 7. A peer may send others: events carry plain integers."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionBroken(Exception):
    """The peer broke the connection's rules: GOAWAY with `code`, nothing more is read. Never leaves the codec."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Misuse(Exception):
    """The caller sent what a state forbids: two heads, data after the end. A defect of ours, never a peer's doing."""
