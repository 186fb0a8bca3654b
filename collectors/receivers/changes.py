"""Which readings of a series are worth storing. No I/O.

A reading is stored when it differs from the one before, then with that one, so that a stretch of equal readings has
both its ends; at least once a minute; and at the end, as the mark that the series is over. A counter that appears at a
target which was read before began at zero in between, and is stored so: else its first requests would never be counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from collectors.receivers.exposition import SeriesSlot
from collectors.records import Histogram, Sample

REPEAT_S = 60.0
"""Longest time without a stored reading; collectors.store.metrics.LOOKBACK_S is two and a half of it."""


@dataclass(slots=True)
class _Last:
    slot: SeriesSlot
    value: float
    histogram: Histogram | None
    stored_at: float
    ended: bool = False


class Changes:
    """Remembers what was stored of one target."""

    def __init__(self) -> None:
        self._last: dict[int, _Last] = {}
        self._read_at: float | None = None
        """Time of the last successful reading."""

    def read(self, slots: Iterable[SeriesSlot], now: float) -> list[Sample]:
        """The samples to store after a successful reading at `now`, in seconds since the epoch."""
        samples: list[Sample] = []
        seen: set[int] = set()
        for slot in slots:
            seen.add(id(slot))
            samples += self._reading(slot, now)
        gone = [key for key, last in self._last.items() if key not in seen]
        for key in gone:
            samples += _end(self._last.pop(key), now)
        self._read_at = now
        return samples

    def failed(self, now: float) -> list[Sample]:
        """The samples to store when the target could not be read, or is gone: every series ends."""
        return [sample for last in self._last.values() for sample in _end(last, now)]

    def _reading(self, slot: SeriesSlot, now: float) -> list[Sample]:
        histogram = slot.histogram()
        value = float(histogram.counts[-1]) if histogram is not None and histogram.counts else slot.value
        current = Sample(slot.name, slot.labels, now, value, histogram)
        last = self._last.get(id(slot))
        if last is None:
            self._last[id(slot)] = _Last(slot, value, histogram, now)
            if self._read_at is None or not slot.cumulative:
                return [current]
            zero = None if histogram is None else Histogram(histogram.bounds, (0,) * len(histogram.counts), 0.0)
            return [Sample(slot.name, slot.labels, self._read_at, 0.0, zero), current]
        changed = value != last.value or histogram != last.histogram or last.ended
        if not changed and now - last.stored_at < REPEAT_S:
            return []
        samples = [current]
        if changed and not last.ended and self._read_at is not None and last.stored_at < self._read_at:
            samples.insert(0, Sample(slot.name, slot.labels, self._read_at, last.value, last.histogram))
        last.value, last.histogram, last.stored_at, last.ended = value, histogram, now, False
        return samples


def _end(last: _Last, now: float) -> list[Sample]:
    if last.ended:
        return []
    last.ended = True
    return [Sample(last.slot.name, last.slot.labels, now, None, last.histogram)]
