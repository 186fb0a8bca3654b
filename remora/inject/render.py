"""Plain data as YAML text of the ordinary kind: block style, a scalar on one line, quotes only where needed."""

import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][-A-Za-z0-9_./]*(?: ?[-A-Za-z0-9_./@=]+)*\Z", re.ASCII)
_QUANTITY = re.compile(r"[1-9][0-9]*(?:m|s|Ki|Mi|Gi|Ti|k|M|G)\Z", re.ASCII)
_SHORT = {'"': '"', "\\": "\\", "\n": "n", "\t": "t"}
_OTHERWISE = re.compile(r"(?i:true|false|null|yes|no|on|off|y|n|nan|inf)\Z")
"""What some reader of YAML, 1.1 ones among them, takes for something else than text."""


def block(value: Any, offset: int) -> list[str]:
    """Lines. `offset` is how far lists are indented below their field: 0, as kubectl does, or 2."""
    if isinstance(value, dict) and value:
        return [line for key, each in value.items() for line in entry(key, each, offset)]
    if isinstance(value, list) and value:
        return [line for each in value for line in item(each, offset)]
    return [flow(value)]


def entry(key: str, value: Any, offset: int) -> list[str]:
    """A field with its value."""
    if isinstance(value, dict) and value:
        return [f"{scalar(key)}:", *_indented(block(value, offset), 2)]
    if isinstance(value, list) and value:
        return [f"{scalar(key)}:", *_indented(block(value, offset), offset)]
    return [f"{scalar(key)}: {flow(value)}"]


def item(value: Any, offset: int) -> list[str]:
    """An item of a list."""
    first, *rest = block(value, offset)
    return [f"- {first}", *_indented(rest, 2)]


def flow(value: Any) -> str:
    """On one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Text, a number, true, false or null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    if _QUANTITY.match(value) or (_PLAIN.match(value) and not _OTHERWISE.match(value)):
        return value
    if value.isprintable() and ('"' in value or "\\" in value):
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return f"\\{_SHORT[character]}"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65_536 else f"\\U{number:08x}"


def _indented(lines: list[str], columns: int) -> list[str]:
    return [" " * columns + line for line in lines]
