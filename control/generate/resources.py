"""Resources of one type as bytes: made once, shared by every snapshot that has them, told apart by what they hold.

A version is the sum of its resources' digests (an additive multiset hash), so it follows from the content alone: equal
content has an equal version however it was put together, and a change costs what changed. It says whether two things
are equal, of bytes that we made ourselves; it keeps nobody from forging anything.
"""

import hashlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, cast, overload

from google.protobuf.any_pb2 import Any as AnyMessage

from control.generate.entries import Entry, References

_MODULUS = 1 << 256
MAX_REMEMBERED = 64
"""Answers about other resources, or about lists of names, that one set of resources remembers."""

_FEW = 16
"""Names that are looked up sooner than remembered."""

_T = TypeVar("_T")
_Answer = TypeVar("_Answer")


class Resources(Mapping[str, AnyMessage]):
    """Immutable, by name. `own` may stand on a `base` that others share; names of `own` that `base` has win."""

    __slots__ = (
        "__weakref__",
        "_answers",
        "_asked",
        "_base",
        "_own",
        "_references",
        "_shared",
        "_total",
        "_upon",
        "_version",
        "_wire",
    )

    def __init__(
        self,
        own: Mapping[str, Entry],
        base: "Resources | None" = None,
        *,
        total: int | None = None,
        shared: bool = False,
    ) -> None:
        """`total` is the sum of the digests, where it is known; `shared` says that many proxies have it as it is."""
        self._own = own
        self._shared = shared
        self._base = base
        self._total = None if total is None else total % _MODULUS
        self._version: str | None = None
        self._references: References | None = None
        self._wire: bytes | None = None
        self._asked: tuple[frozenset[str], str] | None = None  # of the last names that the version was asked of
        self._upon: Resources | None = None
        self._answers: dict[tuple[str, int], tuple[weakref.ref[object], object]] = {}

    @property
    def base(self) -> "Resources | None":
        return self._base

    @property
    def own(self) -> Mapping[str, Entry]:
        """Without the base's."""
        return self._own

    @property
    def total(self) -> int:
        """The sum of the digests."""
        if self._total is None:
            total = sum(each.digest for each in self._own.values())
            if self._base is not None:
                total += self._base.total - sum(each.digest for each in self._hidden())
            self._total = total % _MODULUS
        return self._total

    @property
    def version(self) -> str:
        """Equal versions mean equal content."""
        if self._version is None:
            self._version = _named(self.total)
        return self._version

    def kept(self, before: "Resources | None") -> "Resources":
        """What there was before if it is equal."""
        if before is None:
            return self
        same = self.same_own(before._own) if self._base is before._base else self == before
        return before if same else self

    def same_own(self, own: Mapping[str, Entry]) -> bool:
        """Whether its own are equal to these."""
        if self._own is own:
            return True
        return self._own.keys() == own.keys() and all(own[name].digest == e.digest for name, e in self._own.items())

    def entry(self, name: str) -> Entry | None:
        """The packed resource; None where there is none of that name."""
        found = self._own.get(name)
        return found if found is not None or self._base is None else self._base.entry(name)

    def entries(self) -> Iterator[Entry]:
        """By name."""
        for name in self:
            found = self.entry(name)
            assert found is not None
            yield found

    def __getitem__(self, name: str) -> AnyMessage:
        found = self.entry(name)
        if found is None:
            raise KeyError(name)
        return found.message

    def __contains__(self, name: object) -> bool:
        return name in self._own or (self._base is not None and name in self._base)

    def __iter__(self) -> Iterator[str]:
        names = self._own.keys() if self._base is None else {*self._base, *self._own}
        return iter(sorted(names))

    def __len__(self) -> int:
        if self._base is None:
            return len(self._own)
        return len(self._own) + len(self._base) - sum(1 for _ in self._hidden())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resources):
            return NotImplemented
        return self is other or self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    def __repr__(self) -> str:
        return f"<Resources {self.version}: {len(self)}>"

    def version_of(self, names: frozenset[str]) -> str:
        """Of the resources among these names."""
        asked = self._asked
        if asked is None or asked[0] is not names:
            asked = self._asked = names, self._about("version", names, self._version_of)
        return asked[1]

    def covered_by(self, names: frozenset[str]) -> bool:
        """Whether every resource is among the names."""
        return self._about("covered", names, lambda names: all(name in names for name in self._names()))

    def changed_since(self, before: "Resources") -> frozenset[str]:
        """The names of what `before` does not have, has otherwise, or has and this has not."""
        if before is self:
            return frozenset()
        return self._about("changed", before, self._changed_since)

    def over(self, before: "Resources") -> "Resources":
        """With what is only in `before`. Shared among all who ask of the same two."""
        if before is self:
            return self
        return self._about("over", before, self._over)

    def references(self, read: Callable[[Entry], References]) -> References:
        """What its own refer to, without the base's."""
        if self._references is not None:
            return self._references
        found: dict[str, set[str]] = {}
        for made in self._own.values():
            for url, names in made.references(read).items():
                found.setdefault(url, set()).update(names)
        references = {url: frozenset(names) for url, names in found.items()}
        if self._shared:
            self._references = references
        return references

    def lacks(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the names that are no resource's."""
        if self._base is not None:
            lacking = self._base.lacks(names)
            return frozenset(each for each in lacking if each not in self._own) if lacking else lacking
        if len(names) <= _FEW:
            return frozenset(each for each in names if each not in self._own)
        return self._about("lacks", names, lambda names: frozenset(each for each in names if each not in self._own))

    def select(self, names: Iterable[str]) -> "Selection":
        """Those that are there."""
        found = ((name, self.entry(name)) for name in sorted(names))
        return Selection(Resources({name: each for name, each in found if each is not None}))

    def everything(self) -> "Selection":
        return Selection(self)

    def wire(self) -> bytes:
        """Everything, as a DiscoveryResponse carries it."""
        return b"".join(self.pieces())

    def pieces(self) -> list[bytes]:
        """The same, not yet put together. What is shared is kept: it is sent to many."""
        covers = self._base is not None and any(True for _ in self._hidden())
        base = [] if self._base is None or covers else self._base.pieces()
        own = self._wire
        if own is None:
            own = b"".join([each.wire() for each in (self.entries() if covers else self._own.values())])
            if self._shared:
                self._wire = own
        return [*base, own]

    def upon(self, base: "Resources") -> "Resources":
        """These on top of others; the same object until somebody asks for them on top of other ones."""
        made = self._upon
        if made is None or made.base is not base:
            made = self._upon = Resources(self._own, base, shared=True)
        return made

    def _names(self) -> Iterator[str]:
        """In no order."""
        yield from self._own
        if self._base is not None:
            yield from (name for name in self._base._names() if name not in self._own)

    def _hidden(self) -> Iterator[Entry]:
        """What the base has under names of one's own."""
        if self._base is not None:
            for name in self._own:
                found = self._base.entry(name)
                if found is not None:
                    yield found

    def _version_of(self, names: frozenset[str]) -> str:
        if self.covered_by(names):
            return self.version
        found = (self.entry(name) for name in names)
        return _named(sum(each.digest for each in found if each is not None) % _MODULUS)

    def _changed_since(self, before: "Resources") -> frozenset[str]:
        if self._base is not None and before._base is not None:
            # Two layers each: what was asked of the bases by others is known.
            names = {*self._base.changed_since(before._base), *self._own, *before._own}
        else:
            names = {*self._names(), *before._names()}
        return frozenset(name for name in names if _digest(self.entry(name)) != _digest(before.entry(name)))

    def _over(self, before: "Resources") -> "Resources":
        if self._base is not None and before._base is not None:
            kept = {name: each for name, each in before._own.items() if name not in self._base}
            return Resources({**kept, **self._own}, self._base.over(before._base))
        gone = {name: before.entry(name) for name in self.changed_since(before) if name not in self}
        return Resources({name: each for name, each in gone.items() if each is not None}, self) if gone else self

    def _about(self, what: str, other: _T, find: Callable[[_T], _Answer]) -> _Answer:
        """What `find` says of `other`, asked once for as long as `other` lives."""
        key = what, id(other)
        known = self._answers.get(key)
        if known is not None and known[0]() is other:
            return cast("_Answer", known[1])
        answer = find(other)
        if len(self._answers) >= MAX_REMEMBERED:
            self._answers.clear()
        self._answers[key] = weakref.ref(other), answer
        return answer


class Selection(Sequence[AnyMessage]):
    """Resources of one answer, by name."""

    __slots__ = ("_of",)

    def __init__(self, of: Resources) -> None:
        self._of = of

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, index: int) -> AnyMessage: ...

    @overload
    def __getitem__(self, index: slice) -> list[AnyMessage]: ...

    def __getitem__(self, index: int | slice) -> AnyMessage | list[AnyMessage]:
        names = [*self._of][index]
        return self._of[names] if isinstance(names, str) else [self._of[name] for name in names]

    @property
    def names(self) -> list[str]:
        return [*self._of]

    def pieces(self) -> list[bytes]:
        """Parts of the bytes by which a DiscoveryResponse carries them."""
        return self._of.pieces()


def packed(messages: Mapping[str, AnyMessage]) -> Resources:
    """Of what was packed already."""
    return Resources({name: Entry(name, each.type_url, each.value) for name, each in messages.items()})


EMPTY = Resources({})


def _digest(entry: Entry | None) -> int | None:
    return None if entry is None else entry.digest


def _named(total: int) -> str:
    return hashlib.sha256(total.to_bytes(32, "big")).hexdigest()[:16]
