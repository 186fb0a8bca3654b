"""Find the virtual host of a host name: exact, `*.suffix`, `prefix.*`, `*`, in this order, as Envoy does. Pure."""

from typing import Generic, TypeVar

T = TypeVar("T")


class DuplicateDomain(ValueError):
    """Two virtual hosts claim one domain."""


class InvalidDomain(ValueError):
    """Empty, or a wildcard in the middle."""


class Domains(Generic[T]):
    """Domains and what they stand for. A port is part of a name: `a.example:80` is not `a.example`."""

    __slots__ = ("_any", "_exact", "_prefixes", "_suffixes", "_wild")

    def __init__(self) -> None:
        self._exact: dict[bytes, T] = {}
        self._suffixes: dict[int, dict[bytes, T]] = {}
        self._prefixes: dict[int, dict[bytes, T]] = {}
        self._any: T | None = None
        self._wild = False

    def add(self, domain: str, value: T) -> None:
        """Raises DuplicateDomain, InvalidDomain."""
        name = domain.lower().encode()
        if name == b"*":
            if self._any is not None:
                raise DuplicateDomain("* is claimed twice")
            self._any = value
            return
        if not name or name.find(b"*", 1, len(name) - 1) >= 0 or (name.startswith(b"*") and name.endswith(b"*")):
            raise InvalidDomain(f"{domain!r}: a domain is a name, *SUFFIX, PREFIX* or *")
        if name.startswith(b"*"):
            table = self._suffixes.setdefault(len(name) - 1, {})
            self._suffixes = dict(sorted(self._suffixes.items(), reverse=True))
            name = name[1:]
        elif name.endswith(b"*"):
            table = self._prefixes.setdefault(len(name) - 1, {})
            self._prefixes = dict(sorted(self._prefixes.items(), reverse=True))
            name = name[:-1]
        else:
            table = self._exact
        if name in table:
            raise DuplicateDomain(f"{domain} is claimed twice")
        table[name] = value
        self._wild = bool(self._suffixes or self._prefixes)

    def find(self, host: bytes) -> T | None:
        """`host` in lower case. The longest wildcard wins; it stands for one character at least."""
        found = self._exact.get(host)
        if found is None:
            if self._wild:
                found = self._find_wild(host)
            if found is None:
                return self._any
        return found

    def _find_wild(self, host: bytes) -> T | None:
        length = len(host)
        for size, table in self._suffixes.items():
            if size < length:
                found = table.get(host[length - size :])
                if found is not None:
                    return found
        for size, table in self._prefixes.items():
            if size < length:
                found = table.get(host[:size])
                if found is not None:
                    return found
        return None
