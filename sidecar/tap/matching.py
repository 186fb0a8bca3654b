"""Does a tap want this request? First by the request's head, and when the answer is there by its status. Pure."""

import fnmatch
import random
import re
from collections.abc import Callable

from sidecar.config.tap import TapFilter
from sidecar.http.head import RequestHead

_SPECIAL = re.compile(r"[*?\[]")

Condition = Callable[[RequestHead], bool]


class Matcher:
    """One filter, compiled."""

    __slots__ = ("_conditions", "_draw", "_share", "_statuses")

    def __init__(self, wanted: TapFilter, rng: random.Random) -> None:
        conditions: list[Condition] = []
        if wanted.methods:
            methods = frozenset(method.upper().encode() for method in wanted.methods)
            conditions.append(lambda head: head.method in methods)
        if wanted.path:
            conditions.append(_path(wanted.path))
        conditions += [_header(name.encode(), value) for name, value in wanted.headers]
        self._conditions = tuple(conditions)
        self._statuses = wanted.statuses
        self._share = wanted.sample_percent / 100.0
        self._draw = rng.random

    def wants(self, head: RequestHead) -> bool:
        """As far as the request tells; draws."""
        return all(condition(head) for condition in self._conditions) and (
            self._share >= 1.0 or self._draw() < self._share
        )

    def wants_status(self, status: int) -> bool:
        """Whether the answer is one that was asked for."""
        return not self._statuses or any(low <= status <= high for low, high in self._statuses)


def _path(pattern: str) -> Condition:
    if _SPECIAL.search(pattern) is None:
        prefix = pattern.encode()
        return lambda head: head.target.startswith(prefix)
    match = _glob(pattern)
    return lambda head: match(head.target.partition(b"?")[0])


def _header(name: bytes, pattern: str | None) -> Condition:
    if name in (b"host", b":authority"):
        return lambda head: pattern is None or _glob(pattern)(head.authority)
    if pattern is None:
        return lambda head: head.get(name) is not None or name in head.ours
    match = _glob(pattern)

    def holds(head: RequestHead) -> bool:
        ours = head.ours.get(name)
        return (ours is not None and match(ours)) or any(match(value) for value in head.values(name))

    return holds


def _glob(pattern: str) -> Callable[[bytes], bool]:
    # fnmatch's translation never backtracks over a former `*`, so a long path costs what a short one does.
    compiled = re.compile(fnmatch.translate(pattern).encode("utf-8", "surrogateescape"))
    return lambda text: compiled.match(text) is not None
