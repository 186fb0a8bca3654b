"""Anything as what JSON can hold. Pure."""

from typing import Any

MAX_DEPTH = 12
"""Levels below which a value is one text: `flattened` takes 20, and the field is three levels down."""


def plain(value: Any, depth: int = 0) -> Any:
    """A copy with text for what JSON has no word for: bytes and lone surrogates as UTF-8 with replacements, integers
    beyond 64 bits as digits, values deeper than MAX_DEPTH as Python shows them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if depth >= MAX_DEPTH:
        return plain(str(value))
    if isinstance(value, dict):
        return {plain(str(key)): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    return plain(str(value))
