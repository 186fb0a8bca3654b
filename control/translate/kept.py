"""Objects that stay the same while they mean the same: what is made of them need not be made again."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """What a rule of that namespace and name comes to."""

    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...


_T = TypeVar("_T")
_Key = TypeVar("_Key")
_Named = TypeVar("_Named", bound=Named)


def kept(old: _T | None, new: _T) -> _T:
    """The old one if it is equal."""
    return old if old is not None and old == new else new


def kept_values(old: Mapping[_Key, _T], new: Mapping[_Key, _T]) -> Mapping[_Key, _T]:
    """Each the old one where it is equal; the old mapping if they are all that it has, in the same order."""
    made = {key: kept(old.get(key), each) for key, each in new.items()}
    return old if [*old] == [*made] and all(old[key] is each for key, each in made.items()) else made


def kept_all(old: Sequence[_Named], new: Sequence[_Named]) -> tuple[_Named, ...]:
    """The same of what has a name."""
    made = kept_values({(each.namespace, each.name): each for each in old}, {(e.namespace, e.name): e for e in new})
    return tuple(made.values())


def same_objects(old: Mapping[_Key, _T], new: Mapping[_Key, _T]) -> bool:
    """Whether two mappings have the very same objects."""
    return old is new or (len(old) == len(new) and all(new.get(key) is each for key, each in old.items()))
