"""Why an upstream's answer ends before its end, in Envoy's words."""

from typing import Final


class Loss:
    """One way to lose an answer. `flag` and `reason` are Envoy's response flag and reset reason."""

    __slots__ = ("flag", "reason")

    def __init__(self, flag: str, reason: str) -> None:
        self.flag = flag
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Loss {self.flag} {self.reason}>"


CLOSED: Final = Loss("UC", "connection_termination")
STALE: Final = Loss("UC", "connection_termination")
"""The same, but the connection had served others and not a byte of this answer had come: its end and this request may
have passed each other on the way (RFC 9112 9.3.1)."""

RESET: Final = Loss("UR", "remote_reset")
REFUSED: Final = Loss("UR", "remote_refused_stream_reset")
"""The upstream says that it has not looked at the request (RFC 9113 8.7): sent again it does no harm."""
