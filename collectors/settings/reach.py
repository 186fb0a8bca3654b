"""Which routes can never get a record, since those before them take everything that would come. Pure.

What a route takes is a set of cells: traces, metrics, and logs by severity and tag pattern. A cell is taken by a
route before that does not `continue` and covers it. Whether one tag pattern covers another is decided part by part;
where that cannot tell, it says no.
"""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple, get_args

from collectors.settings.routes import RouteSettings, Severity

_ANY_TAG = "**"
_SEVERITIES: tuple[str, ...] = get_args(Severity)


class Unreachable(NamedTuple):
    """A route, and those that leave nothing to it."""

    route: int
    """Its place."""
    takers: tuple[int, ...]


class _Cell(NamedTuple):
    signal: str
    severity: str = ""
    tag: str = _ANY_TAG


def unreachable(routes: Sequence[RouteSettings | None]) -> Iterator[Unreachable]:
    """Those of `routes`, in order; None is one that is wrong, of which nobody knows what it takes."""
    for index, route in enumerate(routes):
        if route is None:
            continue
        takers = [_taker(cell, routes[:index]) for cell in _cells(route)]
        if takers and None not in takers:
            yield Unreachable(index, tuple(sorted({taker for taker in takers if taker is not None})))


def _cells(route: RouteSettings) -> Iterator[_Cell]:
    for signal in route.signals():
        if signal != "logs":
            yield _Cell(signal)
            continue
        for severity in route.match.severities or _SEVERITIES:
            for tag in route.match.tags or (_ANY_TAG,):
                yield _Cell(signal, severity, tag)


def _taker(cell: _Cell, before: Sequence[RouteSettings | None]) -> int | None:
    for index, route in enumerate(before):
        if route is not None and not route.proceed and _takes(route, cell):
            return index
    return None


def _takes(route: RouteSettings, cell: _Cell) -> bool:
    if cell.signal not in route.signals():
        return False
    match = route.match
    return cell.signal != "logs" or (
        (not match.severities or cell.severity in match.severities)
        and (not match.tags or any(covers(tag, cell.tag) for tag in match.tags))
    )


def covers(wide: str, narrow: str) -> bool:
    """Whether every tag that `narrow` matches is one that `wide` matches."""
    return wide == narrow or _covers(tuple(wide.split(".")), tuple(narrow.split(".")))


@lru_cache(maxsize=10_000)
def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide:
        return not narrow
    if wide[0] == "**":
        return _covers(wide[1:], narrow) or (bool(narrow) and _covers(wide, narrow[1:]))
    if not narrow or narrow[0] == "**":
        return False
    return _covers_part(wide[0], narrow[0]) and _covers(wide[1:], narrow[1:])


def _covers_part(wide: str, narrow: str) -> bool:
    # A star in the narrow one stands for a text that only a star of the wide one takes.
    return fnmatchcase(narrow.replace("*", "\0"), re.sub(r"([\[?])", r"[\1]", wide))
