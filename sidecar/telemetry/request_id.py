"""Random identifiers by the thousand: one call to the operating system serves many requests."""

import os
from binascii import hexlify
from collections.abc import Callable

_BLOCK_BYTES = 4096


class IdSource:
    """Trace ids, span ids and request ids as lower-case hexadecimal bytes. `entropy(n)` yields n random bytes."""

    __slots__ = ("_at", "_entropy", "_hex", "_request_suffix")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._hex = b""
        self._at = 0
        self._request_suffix = b""

    def _refill(self) -> None:
        self._hex = hexlify(self._entropy(_BLOCK_BYTES))
        own = hexlify(self._entropy(10))
        variant = b"89ab"[own[3] % 4 : own[3] % 4 + 1]
        self._request_suffix = b"-4%b-%b%b-%b" % (own[:3], variant, own[4:7], own[7:19])
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
        """A UUID of version 4 (RFC 9562 section 5.4), as `x-request-id` carries it.

        Requests of one block, some 680 in a row, share the last 74 random bits; the first 48 are each one's own, since
        others take those for sampling and sharding.
        """
        at = self._at
        if at + 12 > len(self._hex):
            self._refill()
            at = 0
        self._at = at + 12
        return b"%b-%b%b" % (self._hex[at : at + 8], self._hex[at + 8 : at + 12], self._request_suffix)
