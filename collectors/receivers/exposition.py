"""Prometheus' text format as readings of series. No I/O.

A target shows the same series again and again: what stands before a line's value is looked up in a dictionary, and only
what is new goes through prometheus_client's parser.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from collectors.records import Histogram, Labels

WANTED = ("istio_", "remora_")
"""Series whose names begin otherwise are not stored."""
MAX_SERIES = 20_000
"""Of one target; further ones are counted and passed over."""

_PARTS = ("_bucket", "_count", "_sum")


class BrokenExposition(ValueError):
    """The text is not in Prometheus' format."""


@dataclass(slots=True)
class SeriesSlot:
    """One series of a target, and what the present text says of it. Of a histogram, all of its lines are one series."""

    name: str
    labels: Labels
    cumulative: bool
    """Counters and histograms begin at zero."""
    value: float = 0.0
    generation: int = -1
    """Of the text that showed it last."""
    bounds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def histogram(self) -> Histogram | None:
        """Of a histogram: its reading, bounds ascending."""
        if not self.bounds:
            return None
        pairs = sorted(zip(self.bounds, self.counts, strict=True))
        return Histogram(tuple(bound for bound, _ in pairs), tuple(count for _, count in pairs), self.sum)


@dataclass(frozen=True, slots=True)
class _Line:
    """Where the value of a known line goes."""

    slot: SeriesSlot
    part: str
    """"", "_count", "_sum" or "_bucket"."""
    index: int = 0
    """Of a bucket."""


class Exposition:
    """Reads one target's texts, one after the other."""

    def __init__(self, extra_labels: dict[str, str]) -> None:
        """`extra_labels` are added where the series has none of that name, as Prometheus does with `instance`."""
        self._extra = extra_labels
        self._lines: dict[str, _Line] = {}
        self._slots: dict[tuple[str, Labels], SeriesSlot] = {}
        self._skipped: set[str] = set()
        self._generation = 0
        self.passed_over = 0
        """Lines of series beyond MAX_SERIES, in the last text."""

    def read(self, text: str) -> Iterator[SeriesSlot]:
        """The series that this text shows. Raises BrokenExposition; then none of the text counts."""
        self._generation += 1
        self.passed_over = 0
        kinds: dict[str, str] = {}
        lines = self._lines
        for line in text.split("\n"):
            if not line.startswith(WANTED):
                if line.startswith("# TYPE "):
                    words = line.split()
                    if len(words) == 4:
                        kinds[words[2]] = words[3]
                continue
            key, _, value = line.rpartition(" ")
            known = lines.get(key)
            if known is None:
                if key in self._skipped:
                    continue
                known = self._learn(line, key, kinds)
                if known is None:
                    continue
            self._put(known, value)
        self._forget()
        return (slot for slot in self._slots.values() if slot.generation == self._generation)

    def _put(self, known: _Line, text: str) -> None:
        slot = known.slot
        slot.generation = self._generation
        try:
            value = float(text)
            match known.part:
                case "_bucket":
                    slot.counts[known.index] = int(value)
                case "_sum":
                    slot.sum = value
                case _:
                    slot.value = value
        except (ValueError, OverflowError) as error:
            raise BrokenExposition(f"{text[:50]!r} is no value") from error

    def _learn(self, line: str, key: str, kinds: dict[str, str]) -> _Line | None:
        if len(self._slots) >= MAX_SERIES or len(self._lines) >= 50 * MAX_SERIES:
            self.passed_over += 1
            return None
        try:
            (family,) = text_string_to_metric_families(line + "\n")
            (sample,) = family.samples
        except Exception as error:
            # The library's parser raises many kinds for broken lines.
            raise BrokenExposition(f"line {line[:100]!r}") from error
        if sample.timestamp is not None:
            raise BrokenExposition("lines with a time of their own are not supported: they are not today's values")
        if sample.name.endswith("_created") and len(self._skipped) < 50 * MAX_SERIES:
            # When a counter began: written by client libraries, asked for by nobody.
            self._skipped.add(key)
            return None
        labels = dict(sample.labels)
        name, part = _split(sample.name, kinds)
        bound = math.nan
        if part == "_bucket":
            bound = float(labels.pop("le", "nan"))
            if math.isnan(bound):
                raise BrokenExposition(f"a bucket without le: {line[:100]!r}")
        slot = self._slot(name, labels, bool(part) or kinds.get(name) == "counter" or name.endswith("_total"))
        index = 0
        if part == "_bucket":
            index = len(slot.bounds)
            slot.bounds.append(bound)
            slot.counts.append(0)
        known = self._lines[key] = _Line(slot, part, index)
        return known

    def _slot(self, name: str, labels: dict[str, str], cumulative: bool) -> SeriesSlot:
        identity = (name, tuple(sorted({**self._extra, **labels}.items())))
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._slots[identity] = SeriesSlot(name, identity[1], cumulative)
        return slot

    def _forget(self) -> None:
        """Drop what is not shown any more, once it is much."""
        if len(self._slots) < 1_000 or self._generation % 100:
            return
        self._slots = {key: slot for key, slot in self._slots.items() if slot.generation == self._generation}
        self._lines = {key: line for key, line in self._lines.items() if line.slot.generation == self._generation}


def _split(name: str, kinds: dict[str, str]) -> tuple[str, str]:
    for part in _PARTS:
        base = name.removesuffix(part)
        if base != name and kinds.get(base) == "histogram":
            return base, part
    return name, ""
