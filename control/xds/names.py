"""Lists of resource names, each kept once: a thousand sidecars that ask for the same thousand clusters' endpoints name
them with every acknowledgement."""

import weakref


class NamePool:
    """Gives equal lists as one object, which can then be told apart, and remembered about, by identity."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[frozenset[str], weakref.ref[frozenset[str]]] = (
            weakref.WeakKeyDictionary()
        )

    def one(self, names: frozenset[str]) -> frozenset[str]:
        """The object that stands for all lists equal to this one."""
        known = self._known.get(names)
        found = None if known is None else known()
        if found is None:
            self._known[names] = weakref.ref(names)
            return names
        return found
