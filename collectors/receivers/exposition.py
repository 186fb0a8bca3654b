"""Prometheus' text format and OpenMetrics' as readings of series. No I/O.

A target shows the same series again and again: what stands before a line's value is looked up in a dictionary, and only
what is new goes through prometheus_client's parser.
https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from collectors.records import Exemplar, Histogram, Labels

MESH = ("istio_", "remora_")
"""Series whose names begin otherwise are not kept in the embedded store."""
MAX_SERIES = 20_000
"""Of one target; further ones are counted and passed over."""
MAX_LINE_CHARACTERS = 8_192
"""The library's parser takes time by the square of a line's length."""
MAX_EXEMPLARS = 64
"""Of one series: of a histogram, one a bucket is what OpenMetrics has."""

_PARTS = ("_bucket", "_count", "_sum")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_EXEMPLAR = re.compile(
    rf'(?P<key>[^\s{{]+(?:\{{(?:[^"}}]|{_QUOTED})*\}})?) (?P<value>\S+)(?P<time> \S+)? '
    rf'# \{{(?P<labels>(?:[^"}}]|{_QUOTED})*)\}} (?P<seen>\S+)(?: (?P<at>\S+))?\Z'
)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|\Z)')
_MAX_EXEMPLAR_CHARACTERS = 128
"""Of all its labels, names and values: OpenMetrics' bound, and what Prometheus takes."""


class BrokenExposition(ValueError):
    """The text is not in Prometheus' format."""


@dataclass(slots=True)
class SeriesSlot:
    """One series of a target, and what the present text says of it. Of a histogram, all of its lines are one series."""

    name: str
    labels: Labels
    kind: str
    """As collectors.records.Sample.kind."""
    value: float = 0.0
    generation: int = -1
    """Of the text that showed it last."""
    bounds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    exemplars: list[Exemplar] = field(default_factory=list)

    @property
    def cumulative(self) -> bool:
        """Counters and histograms begin at zero."""
        return self.kind in ("counter", "histogram")

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

    def __init__(
        self, extra_labels: dict[str, str], *, wanted: tuple[str, ...] = MESH, max_series: int = MAX_SERIES
    ) -> None:
        """`extra_labels` are added where the series has none of that name, as Prometheus does with `instance`.
        `wanted` are beginnings of names; none: every name."""
        self._extra = extra_labels
        self._wanted = wanted or ("",)
        self._max_series = max_series
        self._lines: dict[str, _Line] = {}
        self._slots: dict[tuple[str, Labels], SeriesSlot] = {}
        self._skipped: set[str] = set()
        self._generation = 0
        self.passed_over = 0
        """Lines of series beyond `max_series`, in the last text."""
        self.timed = 0
        """Lines with a time of their own, in the last text: they are not today's values, and left out."""

    def read(self, text: str) -> Iterator[SeriesSlot]:
        """The series that this text shows. Raises BrokenExposition; then none of the text counts."""
        self._generation += 1
        self.passed_over = self.timed = 0
        kinds: dict[str, str] = {}
        for line in text.split("\n"):
            if not line or line[0] == "#":
                if line.startswith("# TYPE "):
                    words = line.split()
                    if len(words) == 4:
                        kinds[words[2]] = words[3]
            elif line.startswith(self._wanted):
                if len(line) > MAX_LINE_CHARACTERS:
                    raise BrokenExposition(f"line {line[:100]!r} has more than {MAX_LINE_CHARACTERS} characters")
                self._read_line(line, kinds)
        self._forget()
        return (slot for slot in self._slots.values() if slot.generation == self._generation)

    def _read_line(self, line: str, kinds: dict[str, str]) -> None:
        key, _, value = line.rpartition(" ")
        exemplar = None
        # A label's value may read so, too: then the expression finds no exemplar, and the line is as any other.
        if " # {" in line and (match := _EXEMPLAR.match(line)) is not None:
            key, value, exemplar = match["key"], match["value"], match
        known = self._lines.get(key)
        if known is None:
            if key in self._skipped:
                return
            known = self._learn(f"{key} {value}", key, kinds)
            if known is None:
                return
        self._put(known, value)
        if exemplar is not None and len(known.slot.exemplars) < MAX_EXEMPLARS:
            found = _exemplar(exemplar)
            if found is not None:
                known.slot.exemplars.append(found)

    def _put(self, known: _Line, text: str) -> None:
        slot = known.slot
        if slot.generation != self._generation:
            slot.generation = self._generation
            if slot.exemplars:
                slot.exemplars = []
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
        if len(self._slots) >= self._max_series or len(self._lines) >= 50 * self._max_series:
            self.passed_over += 1
            return None
        try:
            (family,) = text_string_to_metric_families(line + "\n")
            (sample,) = family.samples
        except Exception as error:
            # The library's parser raises many kinds for broken lines.
            raise BrokenExposition(f"line {line[:100]!r}") from error
        if sample.timestamp is not None:
            if len(line[line.rfind("}") + 1 :].split()) > (2 if "}" in line else 3):
                raise BrokenExposition(f"line {line[:100]!r}")
            self.timed += 1
            return None
        name, part = _split(sample.name, kinds)
        if _tells_beginning(sample.name, kinds):
            # When a counter began: written by client libraries, asked for by nobody.
            if len(self._skipped) < 50 * self._max_series:
                self._skipped.add(key)
            return None
        labels = dict(sample.labels)
        bound = math.nan
        if part == "_bucket":
            bound = float(labels.pop("le", "nan"))
            if math.isnan(bound):
                raise BrokenExposition(f"a bucket without le: {line[:100]!r}")
        slot = self._slot(name, labels, "histogram" if part else _kind(name, kinds))
        index = 0
        if part == "_bucket":
            index = len(slot.bounds)
            slot.bounds.append(bound)
            slot.counts.append(0)
        known = self._lines[key] = _Line(slot, part, index)
        return known

    def _slot(self, name: str, labels: dict[str, str], kind: str) -> SeriesSlot:
        identity = (name, tuple(sorted({**self._extra, **labels}.items())))
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._slots[identity] = SeriesSlot(name, identity[1], kind)
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


def _tells_beginning(name: str, kinds: dict[str, str]) -> bool:
    """`_created` beside a counter, a histogram or a summary; kube_pod_created is a metric of its own."""
    base = name.removesuffix("_created")
    return base != name and (base in kinds or f"{base}_total" in kinds)


def _kind(name: str, kinds: dict[str, str]) -> str:
    said = kinds.get(name)
    if said in ("counter", "gauge"):
        return said
    base = name.removesuffix("_total")
    if base != name and (said is None or said == "counter" or kinds.get(base) == "counter"):
        return "counter"  # OpenMetrics names the family without _total
    for part in ("_sum", "_count"):
        if name.endswith(part) and kinds.get(name.removesuffix(part)) == "summary":
            return "counter"
    return "gauge" if said == "summary" else ""


def _exemplar(match: "re.Match[str]") -> Exemplar | None:
    """None for one that Prometheus would not take either: it is an ornament, and no reason to refuse a text."""
    labels: list[tuple[str, str]] = []
    at = 0
    text = match["labels"]
    while at < len(text):
        label = _LABEL.match(text, at)
        if label is None:
            return None
        value = label[2].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
        labels.append((label[1], value))
        at = label.end()
    if sum(len(name) + len(value) for name, value in labels) > _MAX_EXEMPLAR_CHARACTERS:
        return None
    try:
        seen, when = float(match["seen"]), float(match["at"] or "nan")
    except ValueError:
        return None
    return Exemplar(tuple(sorted(labels)), seen, when)
