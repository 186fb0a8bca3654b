"""A `google.protobuf.Struct` read entry by entry, as strictly as a message: nothing in it is silently ignored."""

from collections.abc import Collection
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from sidecar.xds.rejected import Rejected

MAX_ITEMS = 64
"""Of a list."""

MAX_TEXT_CHARACTERS = 16 * 1024
"""As many as a request's target may have: no longer path is of use."""


class Values:
    """A mapping. Each reading takes its entry; `done` rejects what is left."""

    def __init__(self, plain: dict[str, Any], path: str) -> None:
        self._left = dict(plain)
        self.path = path

    @classmethod
    def of(cls, struct: Message, path: str) -> "Values":
        return cls(json_format.MessageToDict(struct), path)

    def reject(self, name: str, why: str) -> Rejected:
        """To be raised."""
        return Rejected(f"{self.path}.{name}" if name else self.path, why)

    def text(self, name: str, default: str | None = None) -> str:
        """Required where there is no default."""
        value = self._left.pop(name, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS:
            raise self.reject(name, "is required" if value is None else f"is no text of {MAX_TEXT_CHARACTERS} or less")
        return value

    def document(self, name: str, default: str | None, max_bytes: int) -> str:
        """A text that may be long."""
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            raise self.reject(name, "is required" if value is None else "is no text")
        if len(value.encode("utf-8", "surrogatepass")) > max_bytes:
            raise self.reject(name, f"is longer than {max_bytes} bytes")
        return value

    def has(self, name: str) -> bool:
        return name in self._left

    def word(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of a few."""
        value = self.text(name, default)
        if value not in allowed:
            raise self.reject(name, f"{value[:60]!r} is not supported; supported: {', '.join(sorted(allowed))}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list; empty where there is none."""
        value = self._left.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.reject(name, "is no list of texts")
        if len(value) > MAX_ITEMS:
            raise self.reject(name, f"has {len(value)} entries; at most {MAX_ITEMS} are allowed")
        if any(len(each) > MAX_TEXT_CHARACTERS for each in value):
            raise self.reject(name, f"has an entry of more than {MAX_TEXT_CHARACTERS} characters")
        return tuple(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Any number, ends included."""
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.reject(name, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Likewise."""
        value = self._left.get(name, default)
        # A Struct's numbers are all fractions.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise self.reject(name, "is no whole number")
        return int(self.number(name, default, low, high))

    def child(self, name: str) -> "Values":
        """A mapping; empty where there is none."""
        value = self._left.pop(name, {})
        if not isinstance(value, dict):
            raise self.reject(name, "is no mapping")
        return Values(value, f"{self.path}.{name}")

    def children(self, name: str) -> "list[Values]":
        """A list of mappings."""
        value = self._left.pop(name, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.reject(name, "is no list of mappings")
        return [Values(each, f"{self.path}.{name}[{index}]") for index, each in enumerate(value)]

    def done(self) -> None:
        """Raises Rejected for what was not read."""
        for name in sorted(self._left):
            raise self.reject(name[:100], "is not supported")
