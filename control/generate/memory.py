"""What generation remembers from one mesh to the next, so that a change costs what depends on it."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from control.generate.entries import Entry
from control.ir.mesh import Mesh

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Part:
    of: tuple[object, ...]
    value: Any


def memory_of(mesh: Mesh) -> "Memory":
    """The mesh's; a new one where it was not given any."""
    memory: Memory | None = mesh.parts.get(Memory)
    if memory is None:
        memory = mesh.parts[Memory] = Memory()
    return memory


class Memory:
    """Parts that proxies share, each with the very objects that it was made of. Used by one thread at a time.

    A part must not be made of a mesh, which has a memory itself: the past would never end.
    """

    def __init__(self) -> None:
        self._parts: dict[object, _Part] = {}
        self._before: dict[object, _Part] = {}
        self._entries: weakref.WeakValueDictionary[int, Entry] = weakref.WeakValueDictionary()

    def next(self) -> "Memory":
        """For the next mesh. What is not asked for there is forgotten with it; what it shares it goes on to share."""
        made = Memory()
        made._before = {**self._before, **self._parts}
        made._entries = self._entries
        return made

    def forget_unused(self) -> None:
        """Everything that a whole mesh could want has been asked for."""
        self._before = {}

    def part(
        self,
        key: object,
        of: tuple[object, ...],
        make: Callable[[], _T],
        again: Callable[[_T], _T] | None = None,
    ) -> _T:
        """The part of this key: what there is, if it was made of the same objects, else a new one. `again` makes it
        from the one before."""
        known = self._parts.get(key)
        if known is None:
            known = self._before.get(key)
        if known is not None and len(known.of) == len(of) and all(map(_same, known.of, of)):
            self._parts[key] = known
            return known.value  # type: ignore[no-any-return]
        value = again(known.value) if again is not None and known is not None else make()
        self._parts[key] = _Part(of, value)
        return value

    def one(self, entry: Entry) -> Entry:
        """The object that stands for all equal entries: many pods' listeners are the same to the byte."""
        return self._entries.setdefault(entry.digest, entry)


def _same(one: object, other: object) -> bool:
    return one is other
