"""Entries of the forward protocol as events: records become what JSON has (text, numbers, truth, lists, maps). No I/O.

Nearly all entries are flat maps of such values as they come. So a slice of them is judged as a whole, by functions that
run in C; only where one of a slice is different is each looked at by itself.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

MAX_TIME_S = 253_402_300_800.0
"""Year 10,000."""
MAX_DEPTH = 32
"""Of containers within a record."""

_SLICE = 1_024
_PLAIN = frozenset((str, int, float, bool, type(None)))
_NUMBERS = frozenset((int, float))
_LISTS = frozenset((list,))
_MAPS = frozenset((dict,))


class MalformedEntry(ValueError):
    """It is not [time, record]."""


class Event(NamedTuple):
    """One entry."""

    time: float | None
    """Seconds since the Unix epoch; None if the sender gave none that makes sense."""
    record: dict[str, Any]


_EVENT = partial(tuple.__new__, Event)
"""Event of a pair: a named tuple's own constructor is a Python call."""


def events_of(entries: Sequence[Any]) -> list[Event]:
    """Raises MalformedEntry."""
    events: list[Event] = []
    for start in range(0, len(entries), _SLICE):
        some = entries[start : start + _SLICE]
        events += _plain_events(some) or [_event(entry) for entry in some]
    return events


def _plain_events(entries: Sequence[Any]) -> list[Event] | None:
    """The events where there is nothing to object to and nothing to convert, else None."""
    if not _LISTS.issuperset(map(type, entries)):
        return None
    parts = list(zip(*entries, strict=False))
    if len(parts) < 2:
        return None
    times, records = parts[:2]
    if not _NUMBERS.issuperset(map(type, times)) or not _MAPS.issuperset(map(type, records)):
        return None
    if not _are_sound(times) or min(times) < 0 or max(times) >= MAX_TIME_S:
        return None
    shapes = set(map(tuple, records))
    if not _is_text(chain.from_iterable(shapes)):  # a key that is bytes
        return None
    values = map(dict.values, records)
    # Of records with the same keys, each key's values: few have a number among them that needs a look.
    columns = zip(*values, strict=True) if len(shapes) == 1 else [list(chain.from_iterable(values))]
    if not all(map(_is_plain, columns)):
        return None
    return list(map(_EVENT, zip(map(float, times), records, strict=True)))


def _is_plain(values: Sequence[Any]) -> bool:
    if _is_text(values):  # as most are, and found out in a third of the time
        return True
    kinds = set(map(type, values))
    return _PLAIN.issuperset(kinds) and (
        float not in kinds or _are_sound([value for value in values if type(value) is float])
    )


def _is_text(values: Iterable[Any]) -> bool:
    """All of them are str."""
    try:
        "".join(values)
    except TypeError:
        return False
    return True


def _are_sound(numbers: Sequence[int | float]) -> bool:
    """None is infinite or NaN: one of those makes the sum so. (Large ones can as well; then each is looked at.)"""
    total = sum(numbers)
    return total - total == 0


def _event(entry: Any) -> Event:
    if type(entry) is not list or len(entry) < 2:
        raise MalformedEntry("an entry that is not [time, record]")
    return Event(time_of(entry[0]), record_of(entry[1]))


def time_of(value: Any) -> float | None:
    """Raises MalformedEntry for what is no number; one that makes no sense as a time is none."""
    kind = type(value)
    if kind is not int and kind is not float:
        raise MalformedEntry(f"a time that is a {kind.__name__}")
    if not 0 <= value < MAX_TIME_S:  # also false for NaN
        return None
    return float(value)


def record_of(value: Any) -> dict[str, Any]:
    """Raises MalformedEntry for what is no map, or deeper than MAX_DEPTH."""
    if type(value) is not dict:
        raise MalformedEntry("a record that is no map")
    return _map(value, 1)


def _map(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    return {
        key if type(key) is str else bytes(key).decode("utf-8", "replace"): one
        if type(one) is str
        else _value(one, depth)
        for key, one in value.items()
    }


def _value(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind in _PLAIN:
        return value
    if kind is bytes:
        return value.decode("utf-8", "replace")
    if depth >= MAX_DEPTH:
        raise MalformedEntry(f"a record deeper than {MAX_DEPTH}")
    if kind is dict:
        return _map(value, depth + 1)
    if kind is list:
        return [_value(one, depth + 1) for one in value]
    raise MalformedEntry(f"a value of type {kind.__name__}")
