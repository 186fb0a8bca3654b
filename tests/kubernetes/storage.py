"""Objects with one counter of versions over all of them, and the log of changes that watches read: etcd, for a test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

Object = dict[str, Any]
TypeKey = tuple[str, str]
"""(group, plural)."""
Name = tuple[str, str]
"""(namespace, name); the namespace is empty for what belongs to none."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is, never changed in place."""

    object: Object
    raw: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A change: `before` is None for what is new, `after` for what is gone."""

    version: int
    type: TypeKey
    name: Name
    before: Stored | None
    after: Stored | None
    last: Stored
    """The object as a DELETED event shows it."""


class Storage:
    """Not for threads."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 100
        """Watches from an earlier version are answered 410."""
        self.log: list[Logged] = []
        self.on_change: list[Callable[[], None]] = []
        self._objects: dict[TypeKey, dict[Name, Stored]] = {}

    def get(self, kind: TypeKey, name: Name) -> Stored | None:
        return self._objects.get(kind, {}).get(name)

    def all(self, kind: TypeKey, namespace: str = "") -> Iterator[Stored]:
        """In the order in which a list shows them."""
        found = self._objects.get(kind, {})
        return (found[name] for name in sorted(found) if not namespace or name[0] == namespace)

    def put(self, kind: TypeKey, name: Name, new: Object) -> Stored:
        """Store `new`, which is the caller's no more; an equal one stays what it is."""
        before = self.get(kind, name)
        if before is not None:
            new["metadata"]["resourceVersion"] = before.object["metadata"]["resourceVersion"]
            if new == before.object:
                return before
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        stored = Stored(new, orjson.dumps(new), self.version)
        self._objects.setdefault(kind, {})[name] = stored
        self._note(Logged(self.version, kind, name, before, stored, stored))
        return stored

    def remove(self, kind: TypeKey, name: Name) -> Stored:
        """The object as it last was, at the version of its end."""
        before = self._objects[kind].pop(name)
        self.version += 1
        last = {**before.object, "metadata": {**before.object["metadata"], "resourceVersion": str(self.version)}}
        stored = Stored(last, orjson.dumps(last), self.version)
        self._note(Logged(self.version, kind, name, before, None, stored))
        return stored

    def compact(self) -> None:
        """Forget every change until now: what asks for older ones hears 410."""
        self.version += 1
        self.oldest = self.version
        self.log.clear()

    def _note(self, change: Logged) -> None:
        self.log.append(change)
        for tell in self.on_change:
            tell()
