"""HPACK's Huffman code (RFC 7541 5.2 and appendix B), decoding only: we send strings as they are.

The code is canonical, so the lengths are all there is to know. A step takes an octet at a time; steps are worked out
from the tree when they first occur, since of the 65,536 there are a connection sees some hundreds.
"""

from functools import lru_cache
from typing import Final

MAX_CACHED_OCTETS: Final = 64
"""Longer strings are decoded each time, so that the cache holds at most about 100 KiB."""

# fmt: off
_LENGTHS: Final = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
)
# fmt: on
"""Bits of the code of each octet, and of EOS (RFC 7541 appendix B)."""

_EOS: Final = 256
_PADDING_BITS: Final = 7
"""RFC 7541 5.2: fewer than eight bits of EOS's beginning may follow the last symbol."""


class InvalidHuffman(Exception):
    """EOS within the string, or padding that is too long or not of ones."""


class _Node:
    """Where a decoder stands between two octets: within a code, some bits of which it has seen."""

    __slots__ = ("final", "one", "steps", "symbol", "zero")

    def __init__(self) -> None:
        self.zero: _Node | None = None
        self.one: _Node | None = None
        self.symbol = -1
        self.final = False
        """The bits seen may be padding."""
        self.steps: list[_Step | None] = []


class _Step:
    """What an octet does: octets decoded, and where the decoder stands after it."""

    __slots__ = ("node", "octets")

    def __init__(self, octets: bytes, node: _Node) -> None:
        self.octets = octets
        self.node = node


def _tree() -> _Node:
    root = _Node()
    code = bits = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - bits
        bits = _LENGTHS[symbol]
        _insert(root, code, bits, symbol)
        code += 1
    padding: _Node | None = root
    for _ in range(_PADDING_BITS + 1):
        assert padding is not None
        padding.final = True
        padding = padding.one
    return root


def _insert(root: _Node, code: int, bits: int, symbol: int) -> None:
    node = root
    for shift in range(bits - 1, -1, -1):
        following = node.one if code >> shift & 1 else node.zero
        if following is None:
            following = _Node()
            if code >> shift & 1:
                node.one = following
            else:
                node.zero = following
        node = following
    node.symbol = symbol


_ROOT: Final = _tree()


def _work_out(node: _Node, octet: int) -> _Step:
    decoded = b""
    at = node
    for shift in range(7, -1, -1):
        following = at.one if octet >> shift & 1 else at.zero
        assert following is not None  # every code but EOS's is complete, and EOS ends the string
        at = following
        if at.symbol == _EOS:
            raise InvalidHuffman("EOS in a string")
        if at.symbol >= 0:
            decoded += bytes((at.symbol,))
            at = _ROOT
    step = _Step(decoded, at)
    if not node.steps:
        node.steps = [None] * 256
    node.steps[octet] = step
    return step


def _decode(data: bytes) -> bytes:
    node = _ROOT
    decoded: list[bytes] = []
    for octet in data:
        step = node.steps[octet] if node.steps else None
        if step is None:
            step = _work_out(node, octet)
        decoded.append(step.octets)
        node = step.node
    if not node.final:
        raise InvalidHuffman("a string ends within a code")
    return b"".join(decoded)


_decode_short: Final = lru_cache(maxsize=512)(_decode)


def decode(data: bytes) -> bytes:
    """The octets that `data` stands for. Raises InvalidHuffman."""
    return _decode_short(data) if len(data) <= MAX_CACHED_OCTETS else _decode(data)
