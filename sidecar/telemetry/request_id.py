"""Random identifiers by the thousand: one call to the operating system serves many requests."""

import os
from binascii import hexlify
from collections.abc import Callable

_BLOCK_BYTES = 4096


class IdSource:
    """Trace ids, span ids and request ids as lower-case hexadecimal bytes. `entropy(n)` yields n random bytes."""

    __slots__ = ("_at", "_entropy", "_hex")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._hex = b""
        self._at = 0

    def _refill(self) -> None:
        self._hex = hexlify(self._entropy(_BLOCK_BYTES))
        self._at = 0

    def span_id(self) -> bytes:
        """16 digits, not all zero (W3C trace context)."""
        at = self._at
        if at + 16 > len(self._hex):
            self._refill()
            at = 0
        self._at = at + 16
        made = self._hex[at : at + 16]
        return made if made != b"0000000000000000" else self.span_id()

    def trace_id(self) -> bytes:
        """32 digits, not all zero."""
        at = self._at
        if at + 32 > len(self._hex):
            self._refill()
            at = 0
        self._at = at + 32
        made = self._hex[at : at + 32]
        return made if made != b"00000000000000000000000000000000" else self.trace_id()

    def request_id(self) -> bytes:
        """A UUID of version 4 (RFC 9562 section 5.4), as `x-request-id` carries it."""
        at = self._at
        if at + 32 > len(self._hex):
            self._refill()
            at = 0
        self._at = at + 32
        h = self._hex
        return b"%b-%b-4%b-%b%b-%b" % (
            h[at : at + 8],
            h[at + 8 : at + 12],
            h[at + 13 : at + 16],
            _VARIANT[h[at + 16]],
            h[at + 17 : at + 20],
            h[at + 20 : at + 32],
        )


_VARIANT = {digit: b"89ab"[i % 4 : i % 4 + 1] for i, digit in enumerate(b"0123456789abcdef")}
"""Any hexadecimal digit -> one of the four that say "RFC variant"."""
