"""Rules as a store has them, good or not, and whether they still are what somebody has read. Pure."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from control.api.resource import Key, Resource
from control.api.violation import Violation


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition of a rule's status, as `kubectl describe` shows it."""

    type: str
    status: str
    """`True` or `False`."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StoredRule:
    """What is stored under a name: in a cluster that may be wrong, and then an older version is in effect, or none."""

    key: Key
    etag: str
    """Another one for every other version of it."""
    source: str | Callable[[], str] = field(repr=False)
    """YAML, or what writes it when somebody asks."""
    document: Mapping[str, Any]
    """The same as data; empty where it is wrong."""
    created_at: float
    """Seconds since the epoch."""
    verdicts: tuple[Verdict, ...] = ()
    """Empty where a store takes good rules alone."""

    @property
    def text(self) -> str:
        """YAML. May take long: for a thread."""
        return self.source if isinstance(self.source, str) else self.source()


ABSENT = ""
"""In the place of an etag: there is no such rule."""


def stored_rule(resource: Resource) -> StoredRule:
    """One of a store that keeps what people write, word for word."""
    etag = hashlib.sha256(resource.text.encode()).hexdigest()[:32]
    return StoredRule(resource.key, etag, resource.text, resource.document, resource.created_at)


def changed_meanwhile(stored: Mapping[Key, StoredRule], expected: Mapping[Key, str]) -> list[Violation]:
    """What is no longer as it was read: `expected` has the etag of each rule then, or ABSENT."""
    found = []
    for key, etag in expected.items():
        now = stored.get(key)
        if (ABSENT if now is None else now.etag) == etag:
            continue
        if now is None:
            said = "somebody has deleted it meanwhile"
        elif etag == ABSENT:
            said = "somebody has made one of that name meanwhile; read it, and change that"
        else:
            said = "somebody has changed it meanwhile; read it again, and change that"
        found.append(Violation("", 0, *key, message=said))
    return found
