"""Many series summed up into one, however often each of them begins anew. Pure; times are seconds since the epoch.

A sum of counters is the sum of their growth, not of their values: one that restarts, vanishes or comes back must not
make the sum jump. What a counter shows at its first reading is of unknown age and counts nothing, unless it is zero.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from collectors.records import Exemplar, Histogram, Labels, Sample

Identity = tuple[str, Labels]

GAUGES: dict[str, Callable[[Iterable[float]], float]] = {"sum": math.fsum, "min": min, "max": max}
"""Ways to make one reading of many, besides `last` and `refuse`."""


class OtherBounds(Exception):
    """A histogram whose buckets are not those that its sum began with."""


@dataclass(slots=True)
class _Input:
    """A series' last reading."""

    value: float
    counts: tuple[int, ...]
    sum: float
    seen_at: float
    alive: bool = True


@dataclass(slots=True)
class Sum:
    """One series that comes out."""

    name: str
    labels: Labels
    kind: str
    gauges: str
    bounds: tuple[float, ...] = ()
    value: float = 0.0
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    """A histogram's sum of values."""
    exemplars: list[Exemplar] = field(default_factory=list)
    inputs: dict[Identity, _Input] = field(default_factory=dict)
    told: bool = False
    born_at: float = 0.0
    """Time of the first reading."""

    def add(self, identity: Identity, sample: Sample) -> None:
        """One reading of one series. Raises OtherBounds."""
        known = self.inputs.get(identity)
        if sample.value is None:
            if known is not None:
                known.alive = False
            return
        if not self.born_at:
            self.born_at = sample.time
        histogram = sample.histogram
        if histogram is not None and histogram.bounds != self.bounds:
            if self.bounds:
                raise OtherBounds
            self.bounds, self.counts = histogram.bounds, [0] * len(histogram.counts)
        if known is not None and self.kind in ("counter", "histogram"):
            self._grow(known, sample)
        counts = () if histogram is None else histogram.counts
        total = 0.0 if histogram is None else histogram.sum
        self.inputs[identity] = _Input(sample.value, counts, total, sample.time)
        self.exemplars += sample.exemplars

    def _grow(self, known: _Input, sample: Sample) -> None:
        assert sample.value is not None
        histogram = sample.histogram
        # A value below the one before is a restart from zero.
        restarted = sample.value < known.value
        if histogram is None:
            self.value += sample.value - (0.0 if restarted else known.value)
            return
        before = (0,) * len(histogram.counts) if restarted or not known.counts else known.counts
        for index, count in enumerate(histogram.counts):
            self.counts[index] += count - before[index]
        self.total += histogram.sum - (0.0 if restarted else known.sum)

    def expire(self, before: float) -> list[Identity]:
        """Forget series without a reading since; which."""
        gone = [key for key, known in self.inputs.items() if known.seen_at <= before]
        for key in gone:
            del self.inputs[key]
        return gone

    def reading(self, now: float, max_exemplars: int) -> list[Sample]:
        """The present value; nothing while there is none to tell. A sum that is told for the first time began at zero,
        and is said so."""
        exemplars, self.exemplars = tuple(self.exemplars[-max_exemplars:]), []
        alive = [known for known in self.inputs.values() if known.alive]
        cumulative = self.kind in ("counter", "histogram")
        if not (self.inputs if cumulative else alive):
            end = [self._sample(now, None)] if self.told else []
            self.told = False
            return end
        if not cumulative:
            self.value = self._combined(alive)
        elif self.bounds:
            self.value = float(self.counts[-1])
        samples = []
        if cumulative and not self.told and self.born_at < now:
            zero = Histogram(self.bounds, (0,) * len(self.counts), 0.0) if self.bounds else None
            samples.append(self._sample(self.born_at, 0.0, zero))
        self.told = True
        histogram = Histogram(self.bounds, tuple(self.counts), self.total) if self.bounds else None
        return [*samples, self._sample(now, self.value, histogram)._replace(exemplars=exemplars)]

    def _sample(self, at: float, value: float | None, histogram: Histogram | None = None) -> Sample:
        return Sample(self.name, self.labels, at, value, histogram, self.kind)

    def _combined(self, alive: list[_Input]) -> float:
        if self.gauges == "last":
            return max(alive, key=lambda known: known.seen_at).value
        return GAUGES[self.gauges](known.value for known in alive)
