"""Whether a text is made of certain octets, in one pass over it.

`bytes.translate` with octets to delete makes a table of all 256 each time before it looks at the text. With a table
that was made before it does not, and CPython gives what is unchanged uncopied.
"""

from collections.abc import Iterable
from typing import Final


def allowing(octets: Iterable[int]) -> bytes:
    """A table for `made_of`: an octet that is allowed stands for itself, any other for another."""
    allowed = frozenset(octets)
    return bytes([octet if octet in allowed else octet ^ 1 for octet in range(256)])


def made_of(table: bytes, text: bytes) -> bool:
    """Whether every octet of `text` is one that `table` allows; of an empty text they are."""
    return text.translate(table) == text


def blank_at_an_end(text: bytes) -> bool:
    """Whether `text` begins or ends with a space or tab."""
    if not text:
        return False
    first = text[0]
    last = text[-1]
    return first == 32 or first == 9 or last == 32 or last == 9


FIELD_VALUE: Final = allowing((9, *range(32, 127), *range(128, 256)))
"""field-vchar, space and tab (RFC 9110 5.5)."""

_LOWER: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
LOWER_TOKEN: Final = allowing(_LOWER)
"""tchar without capitals: a field's name in HTTP/2 (RFC 9113 8.2)."""
TOKEN: Final = allowing(_LOWER + _LOWER.upper())
"""tchar (RFC 9110 5.6.2)."""
