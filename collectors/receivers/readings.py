"""One target's readings as samples: every series, where it began and where it ended. No I/O.

A counter that appears at a target which was read before began at zero in between, and is said so: else its first
requests would never be counted (Prometheus does the same with created timestamps). A series that is not shown any more,
or whose target cannot be read, has an end.
"""

import math
from collections.abc import Iterable

from collectors.receivers.exposition import SeriesSlot
from collectors.records import Exemplar, Histogram, Sample


class Readings:
    """Remembers what a target showed last."""

    def __init__(self) -> None:
        self._shown: dict[int, Sample] = {}
        """The last sample of every live series, by its slot."""
        self._ended: set[int] = set()
        """Series that ended with a failure and whose slots are still known: they go on, and do not begin anew."""
        self._exemplars: dict[int, frozenset[Exemplar]] = {}
        self._read_at: float | None = None
        """Time of the last successful reading."""

    def read(self, slots: Iterable[SeriesSlot], now: float) -> list[Sample]:
        """The samples of a successful reading at `now`, in seconds since the epoch."""
        samples: list[Sample] = []
        shown: dict[int, Sample] = {}
        for slot in slots:
            key = id(slot)
            sample = shown[key] = self._sample(slot, now)
            if key not in self._shown and key not in self._ended and self._read_at is not None and slot.cumulative:
                samples.append(_born(sample, self._read_at))
            samples.append(sample)
        samples += [_end(sample, now) for key, sample in self._shown.items() if key not in shown]
        self._shown = shown
        self._exemplars = {key: found for key, found in self._exemplars.items() if key in shown}
        self._ended.clear()
        self._read_at = now
        return samples

    def failed(self, now: float) -> list[Sample]:
        """The samples when the target could not be read, or is gone: every series ends."""
        ends = [_end(sample, now) for sample in self._shown.values()]
        self._ended.update(self._shown)
        self._shown = {}
        return ends

    def _sample(self, slot: SeriesSlot, now: float) -> Sample:
        histogram = slot.histogram()
        value = float(histogram.counts[-1]) if histogram is not None and histogram.counts else slot.value
        return Sample(slot.name, slot.labels, now, value, histogram, slot.kind, self._new_exemplars(slot, now))

    def _new_exemplars(self, slot: SeriesSlot, now: float) -> tuple[Exemplar, ...]:
        """Those that the last text did not show."""
        if not slot.exemplars:
            return ()
        shown = frozenset(slot.exemplars)
        before = self._exemplars.get(id(slot), frozenset())
        self._exemplars[id(slot)] = shown
        found = (each for each in slot.exemplars if each not in before)
        return tuple(each._replace(time=now) if math.isnan(each.time) else each for each in found)


def _born(sample: Sample, at: float) -> Sample:
    histogram = sample.histogram
    zero = None if histogram is None else Histogram(histogram.bounds, (0,) * len(histogram.counts), 0.0)
    return sample._replace(time=at, value=0.0, histogram=zero, exemplars=())


def _end(sample: Sample, at: float) -> Sample:
    return sample._replace(time=at, value=None, exemplars=())
