"""Manifests before their values are known: plain data with references to values in it.

One tree has two readers: `evaluate` puts values in, `remora.install.chart` writes the Helm template of it. So that
both say the same, a tree knows only what is here: a value, text around values, and parts that are there or not.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from remora.install.text import Inline, flow, strict


class Absent(Enum):
    """The one thing that a part which is not there evaluates to."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Ref:
    """A value, by its path as in values.yaml: `control.replicas`."""

    path: str


@dataclass(frozen=True, slots=True)
class Item:
    """Within an `Each`: its entry's field, or with the empty name the entry."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them."""

    conditions: tuple["Condition", ...]

    def __init__(self, *conditions: "Condition") -> None:
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of them."""

    conditions: tuple["Condition", ...]

    def __init__(self, *conditions: "Condition") -> None:
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True, slots=True)
class Is:
    """A value that is this very text."""

    ref: Ref
    text: str


Condition = Ref | Item | Not | All | Either | Is
"""A `Ref` alone holds unless it is false, zero or empty: the same to Python and to Go's templates."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Text with values in it. Their models allow no quotes or line feeds there: see `values`."""

    parts: tuple["str | Ref | Item | When", ...]

    def __init__(self, *parts: "str | Ref | Item | When") -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class When:
    """A part that is there only if a condition holds: an object, a key's value, a list's entry, or a piece of text."""

    condition: Condition
    then: "Node"
    otherwise: "Node | Absent" = ABSENT


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML document as text: what a ConfigMap's key holds."""

    tree: "Node"


@dataclass(frozen=True, slots=True)
class Each:
    """In a list: one entry for every entry of a value, in place of this."""

    ref: Ref
    entry: "Node"


@dataclass(frozen=True, slots=True)
class Digest:
    """Text that differs when one of the values does: in a pod's annotation, what makes a change of settings a
    rollout."""

    refs: tuple[Ref, ...]

    def __init__(self, *refs: Ref) -> None:
        object.__setattr__(self, "refs", refs)


@dataclass(frozen=True, slots=True)
class _OneLine:
    value: Ref | Item


Node = (
    None
    | bool
    | int
    | float
    | str
    | Ref
    | Item
    | Each
    | Concat
    | When
    | Document
    | Digest
    | _OneLine
    | Mapping[str, Any]
    | Sequence[Any]
)


def holds(condition: Condition, values: Mapping[str, Any], item: Any = None) -> bool:
    """Whether `condition` is true of `values`."""
    match condition:
        case Ref():
            return bool(look_up(condition, values))
        case Item():
            return bool(evaluate(condition, values, item))
        case Is(ref, text):
            return bool(look_up(ref, values) == text)
        case Not(inner):
            return not holds(inner, values, item)
        case All(conditions):
            return all(holds(each, values, item) for each in conditions)
        case Either(conditions):
            return any(holds(each, values, item) for each in conditions)


def look_up(ref: Ref, values: Mapping[str, Any]) -> Any:
    """The value. Raises KeyError for a path that the values do not have: a mistake in a manifest."""
    found: Any = values
    for step in ref.path.split("."):
        found = found[step]
    return found


def evaluate(node: Node, values: Mapping[str, Any], item: Any = None) -> Any:
    """Plain data, or ABSENT. `item` is the entry that an `Each` is at."""
    match node:
        case Ref():
            return _plain(look_up(node, values))
        case Item(name):
            return _plain(item[name] if name else item)
        case When(condition, then, otherwise):
            if holds(condition, values, item):
                return evaluate(then, values, item)
            return ABSENT if otherwise is ABSENT else evaluate(otherwise, values, item)
        case Concat(parts):
            return "".join(_shown(found) for part in parts if (found := evaluate(part, values, item)) is not ABSENT)
        case Document(tree):
            return strict(evaluate(_inlined(tree), values, item))
        case _OneLine(value):
            return Inline(flow(evaluate(value, values, item)))
        case Digest(refs):
            return hashlib.sha256(flow([_plain(look_up(ref, values)) for ref in refs]).encode()).hexdigest()
        case Mapping():
            return {key: found for key, each in node.items() if (found := evaluate(each, values, item)) is not ABSENT}
        case str() | None | bool() | int() | float():
            return node
        case Each():
            raise AssertionError("an Each stands in a list")
        case _:
            return [found for each in node for found in _entries(each, values, item) if found is not ABSENT]


def _inlined(node: Node) -> Node:
    """The same with every value on one line, as a template puts it in."""
    match node:
        case Ref() | Item():
            return _OneLine(node)
        case When(condition, then, otherwise):
            return When(condition, _inlined(then), otherwise if otherwise is ABSENT else _inlined(otherwise))
        case Each(ref, entry):
            return Each(ref, _inlined(entry))
        case Mapping():
            return {key: _inlined(each) for key, each in node.items()}
        case list() | tuple():
            return [_inlined(each) for each in node]
        case _:
            return node


def _entries(node: Node, values: Mapping[str, Any], item: Any) -> Iterator[Any]:
    if isinstance(node, Each):
        yield from (evaluate(node.entry, values, each) for each in look_up(node.ref, values))
    else:
        yield evaluate(node, values, item)


def _plain(value: Any) -> Any:
    # As JSON has numbers, where 1.0 and 1 are the same.
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else flow(value)
