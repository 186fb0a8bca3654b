"""Which lines belong together: tracebacks of Python, stack traces of Java and Go, or what a pattern says.

A line is judged by what the lines before it were, so that nothing that stands alone ever waits: only after the head of
a trace is a record kept open. The tables are (state, expression, next state), tried in order; what fits none ends the
record and is judged as a first line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Language = Literal["python", "java", "go"]

_Rules = dict[str, tuple[tuple[re.Pattern[str], str], ...]]


class Matches(Protocol):
    """A compiled expression, of whichever library."""

    def search(self, text: str, /) -> object | None:
        """None: it is not in it."""


def _rules(table: Sequence[tuple[str, str, str]]) -> _Rules:
    rules: dict[str, list[tuple[re.Pattern[str], str]]] = {}
    for states, expression, to in table:
        for state in states.split():
            rules.setdefault(state, []).append((re.compile(expression), to))
    return {state: tuple(found) for state, found in rules.items()}


_TABLES: dict[Language, _Rules] = {
    "python": _rules(
        [
            ("start chained", r"^Traceback \(most recent call last\):$", "frames"),
            ("start chained", r"^ *\+ Exception Group Traceback \(most recent call last\):$", "group"),
            ("group", r"^ *[|+](?! Exception Group Traceback)", "group"),
            ("frames", r"^[ \t]", "frames"),
            # The exception itself: a dotted name, and its text.
            ("frames", r"^[^\W\d][\w.]*(?::|$)", "ended"),
            ("ended group", r"^$", "gap"),
            ("gap", r"^(?:During handling of the above exception|The above exception was the direct cause)", "chained"),
            ("chained", r"^$", "chained"),
        ]
    ),
    "java": _rules(
        [
            ("start", r"(?:Exception|Error|Throwable)(?:[: \t]|$)", "head"),
            ("head frames", r"^[ \t]+at [^ ]", "frames"),
            ("head frames", r"^[ \t]*(?:Caused by|Suppressed): ", "head"),
            ("head frames", r"^[ \t]*\.\.\. \d+ (?:more|common frames omitted)", "frames"),
            ("head frames", r"^[ \t]*\[CIRCULAR REFERENCE", "frames"),
        ]
    ),
    "go": _rules(
        [
            ("start", r"^(?:panic: |fatal error: |.*http: panic serving )", "head"),
            ("head", r"^[ \t]+panic: |^\[signal |^\[recovered|^$", "head"),
            ("head gap", r"^(?:goroutine|runtime) ", "calls"),
            ("calls", r"^(?:created by |panic\(|\S.*\)$|\.\.\.)", "places"),
            ("calls", r"^$", "gap"),
            ("places", r"^[ \t]+\S.*:\d+", "calls"),
        ]
    ),
}


def is_trace(text: str) -> bool:
    """Whether a record of several lines is a trace of a language that is known here."""
    head, newline, following = text.partition("\n")
    if not newline:
        return False
    for table in _TABLES.values():
        for expression, to in table["start"]:
            if expression.search(head) is not None and any(
                expression.search(following.partition("\n")[0]) is not None for expression, _ in table[to]
            ):
                return True
    return False


class Grouping(Protocol):
    """Of one stream of one file; keeps what state it needs."""

    def joins(self, text: str) -> bool:
        """Whether the line goes on with the record of the line before."""

    @property
    def open(self) -> bool:
        """Whether a line that comes next may belong to this record: it is kept back."""

    def reset(self) -> None:
        """The record was ended for another reason."""


class Traces:
    """Traces of some languages."""

    def __init__(self, languages: Sequence[Language]) -> None:
        self._tables = [_TABLES[language] for language in languages]
        self._table: _Rules | None = None
        self._state = ""

    @property
    def open(self) -> bool:
        """See Grouping."""
        return self._table is not None

    def joins(self, text: str) -> bool:
        """See Grouping."""
        if self._table is not None:
            for expression, to in self._table.get(self._state, ()):
                if expression.search(text) is not None:
                    self._state = to
                    return True
        self._table = None
        for table in self._tables:
            for expression, to in table["start"]:
                if expression.search(text) is not None:
                    self._table, self._state = table, to
                    return False
        return False

    def reset(self) -> None:
        """See Grouping."""
        self._table = None


@dataclass(slots=True)
class FirstLines:
    """Every record begins with a line that has the pattern."""

    start: Matches

    @property
    def open(self) -> bool:
        """See Grouping."""
        return True

    def joins(self, text: str) -> bool:
        """See Grouping."""
        return self.start.search(text) is None

    def reset(self) -> None:
        """See Grouping."""
