"""What a client asks of `POST /tap`: JSON, checked field by field. Nothing in it is ignored. Pure."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.config.listener import Direction
from sidecar.config.tap import MAX_BODY_BYTES, TapFilter

MAX_RECORDS = 1_000_000
MAX_SECONDS = 24 * 3600.0
DEFAULT_SECONDS = 3600.0
"""A tap that was forgotten ends by itself."""

_MAX_TEXT = 1024
_MAX_ITEMS = 16
_TOKEN = re.compile(r":?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_STATUS = re.compile(r"([1-5])xx\Z|([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?\Z", re.IGNORECASE)


class BadTap(ValueError):
    """`path: what is wrong`, for people."""


@dataclass(frozen=True, slots=True)
class TapRequest:
    """One client's wish."""

    filter: TapFilter
    max_records: int = MAX_RECORDS
    seconds: float = DEFAULT_SECONDS
    show_secrets: bool = False


def parse_tap(body: bytes) -> TapRequest:
    """Raises BadTap. An empty body asks for everything."""
    try:
        plain = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise BadTap(f"the body is no JSON: {error}") from error
    if not isinstance(plain, dict):
        raise BadTap("the body must be a JSON object")
    for name in plain:
        if name not in _FIELDS:
            raise BadTap(f"{str(name)[:60]!r}: unknown field; there are {', '.join(sorted(_FIELDS))}")
    values = {name: read(plain[name], name) for name, read in _FIELDS.items() if name in plain}
    wanted = TapFilter(
        path=values.get("path", ""),
        methods=values.get("methods", ()),
        headers=values.get("headers", ()),
        statuses=values.get("statuses", ()),
        direction=values.get("direction"),
        sample_percent=values.get("sample", 100.0),
        max_body_bytes=values.get("max_body", TapFilter().max_body_bytes),
    )
    return TapRequest(
        wanted,
        values.get("max", MAX_RECORDS),
        values.get("seconds", DEFAULT_SECONDS),
        values.get("show_secrets", False),
    )


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise BadTap(f"{path}: must be a text of 1 to {_MAX_TEXT} printable characters")
    return value


def _path(value: Any, path: str) -> str:
    text = _text(value, path)
    if text[0] not in "/*?[":
        raise BadTap(f"{path}: must begin with /, or be a glob such as */reviews/*")
    return text


def _items(value: Any, path: str, read: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise BadTap(f"{path}: must be a list of at most {_MAX_ITEMS}")
    return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(value))


def _method(value: Any, path: str) -> str:
    if not _TOKEN.match(_text(value, path)):
        raise BadTap(f"{path}: {value[:60]!r} is no method")
    return str(value)


def _header(value: Any, path: str) -> tuple[str, str | None]:
    """`NAME`, or `NAME=GLOB`."""
    name, equals, pattern = _text(value, path).partition("=")
    if not _TOKEN.match(name):
        raise BadTap(f"{path}: {name[:60]!r} is no header's name; write NAME=VALUE")
    return name.lower(), pattern if equals else None


def _status(value: Any, path: str) -> tuple[int, int]:
    """`404`, `5xx`, `400-499`, and 0 for a client that left before any answer."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, path)
    if text == "0":
        return 0, 0
    match = _STATUS.match(text)
    if match is None:
        raise BadTap(f"{path}: {text[:60]!r} is no status; write 404, 5xx, 400-499, or 0 for no answer")
    if match[1]:
        return int(match[1]) * 100, int(match[1]) * 100 + 99
    low = int(match[2])
    high = int(match[3]) if match[3] else low
    if high < low:
        raise BadTap(f"{path}: {text!r} ends before it begins")
    return low, high


def _direction(value: Any, path: str) -> Direction:
    try:
        return Direction(value)
    except ValueError as error:
        known = ", ".join(each.value for each in Direction)
        raise BadTap(f"{path}: {str(value)[:60]!r} is no direction; there are {known}") from error


def _number(low: float, high: float, *, whole: bool) -> Callable[[Any, str], Any]:
    def read(value: Any, path: str) -> Any:
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not fits or not low <= value <= high:
            raise BadTap(f"{path}: must be a{' whole' if whole else ''} number from {low:g} to {high:g}")
        return value if whole else float(value)

    return read


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise BadTap(f"{path}: must be true or false")
    return value


_FIELDS: dict[str, Callable[[Any, str], Any]] = {
    "path": _path,
    "methods": lambda value, path: _items(value, path, _method),
    "headers": lambda value, path: _items(value, path, _header),
    "statuses": lambda value, path: _items(value, path, _status),
    "direction": _direction,
    "sample": _number(0.0, 100.0, whole=False),
    "max": _number(1, MAX_RECORDS, whole=True),
    "max_body": _number(0, MAX_BODY_BYTES, whole=True),
    "seconds": _number(0.1, MAX_SECONDS, whole=False),
    "show_secrets": _flag,
}
