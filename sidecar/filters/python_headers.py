"""A message's fields as filters written in Python see and change them: by name in any case, with checked values."""

import re
from collections.abc import Iterator
from typing import Final

from sidecar.http.fields import HOP, RESPONSE_SPECIAL
from sidecar.http.head import Header

MAX_FIELDS: Final = 200
MAX_VALUE_BYTES: Final = 16 * 1024

REQUEST_PROTECTED: Final = HOP | {
    b"traceparent",
    b"x-envoy-attempt-count",
    b"x-envoy-peer-metadata",
    b"x-envoy-peer-metadata-id",
    b"x-forwarded-client-cert",
    b"x-request-id",
}
"""Fields that frame the message, or that the mesh vouches for."""

RESPONSE_PROTECTED: Final = RESPONSE_SPECIAL

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,256}\Z")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Headers:
    """Values are text; bytes that are no UTF-8 survive as surrogate escapes. Pseudo-headers and Host are no fields
    here: see the message's own attributes."""

    __slots__ = ("_fields", "_open", "_protected")

    def __init__(self, fields: list[Header], protected: frozenset[bytes]) -> None:
        self._fields = fields
        self._protected = protected
        self._open = True

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`."""
        key = _key(name)
        for each, value in self._fields:
            if each == key:
                return _text(value)
        return default

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        key = _key(name)
        return [_text(value) for each, value in self._fields if each == key]

    def set(self, name: str, value: str) -> None:
        """Replace every value of `name`. Raises ValueError for a name or value that can not be."""
        key, encoded = self._checked(name), _value(name, value)
        self._fields[:] = [field for field in self._fields if field[0] != key]
        self._append(key, encoded)

    def add(self, name: str, value: str) -> None:
        """One more value of `name`. Raises ValueError likewise."""
        self._append(self._checked(name), _value(name, value))

    def remove(self, name: str) -> None:
        """Every value of `name`; nothing where there is none. Raises ValueError for a name that is the proxy's."""
        key = self._checked(name)
        self._fields[:] = [field for field in self._fields if field[0] != key]

    def items(self) -> list[tuple[str, str]]:
        """Names, in lower case, and values, in order."""
        return [(_text(name), _text(value)) for name, value in self._fields]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([_text(name) for name, _ in self._fields])

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Values may be secrets, and this may be logged.
        return f"<Headers {', '.join(self)}>"

    def close(self) -> None:
        """No more changes: the message goes on."""
        self._open = False

    def _checked(self, name: str) -> bytes:
        if not self._open:
            raise RuntimeError("the message has gone on; it can not be changed any more")
        key = _key(name)
        if not _NAME.match(name.lower()):
            raise ValueError(f"{name[:100]!r} is no name of a header")
        if key in self._protected:
            raise ValueError(f"{name.lower()} is the proxy's own and can not be changed")
        return key

    def _append(self, key: bytes, value: bytes) -> None:
        if len(self._fields) >= MAX_FIELDS:
            raise ValueError(f"the message has {MAX_FIELDS} headers already")
        self._fields.append((key, value))


def _key(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a header's name is text, not {type(name).__name__}")
    return name.lower().encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _value(name: str, value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the value of {name} is text, not {type(value).__name__}")
    encoded = value.strip(" \t").encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_VALUE_BYTES:
        raise ValueError(f"the value of {name} is longer than {MAX_VALUE_BYTES} bytes")
    if _CONTROLS.search(encoded):
        raise ValueError(f"the value of {name} has control characters")
    return encoded
