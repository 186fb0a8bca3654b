"""Which samples are worth a row in the embedded store. No I/O.

A reading is stored when it differs from the one before, then with that one, so that a stretch of equal readings has
both its ends; at least once a minute; and at the end of its series.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from collectors.records import Labels, Sample

REPEAT_S = 60.0
"""Longest time without a stored reading; collectors.store.metrics.LOOKBACK_S is two and a half of it."""
MAX_SERIES = 500_000
"""Remembered; beyond it those that were silent longest are forgotten, and their next reading is stored."""


@dataclass(slots=True)
class _Last:
    sample: Sample
    """The last reading, stored or not."""
    stored_at: float


class Thinning:
    """Remembers every live series' last reading."""

    def __init__(self, *, max_series: int = MAX_SERIES) -> None:
        self._last: dict[tuple[str, Labels], _Last] = {}
        self._max_series = max_series

    def thin(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those to store, and readings of before that are needed beside them."""
        kept: list[Sample] = []
        for sample in samples:
            key = (sample.name, sample.labels)
            # Taken out and put in again: the first ones of the dictionary are the most silent.
            last = self._last.pop(key, None)
            if sample.value is None:
                if last is not None:
                    kept.append(sample)
                continue
            if last is None:
                self._remember(key, _Last(sample, sample.time))
                kept.append(sample)
                continue
            before = last.sample
            changed = sample.value != before.value or sample.histogram != before.histogram
            if changed and last.stored_at < before.time:
                kept.append(before)
            if changed or sample.time - last.stored_at >= REPEAT_S:
                kept.append(sample)
                last.stored_at = sample.time
            last.sample = sample
            self._remember(key, last)
        return kept

    def forget(self, samples: Iterable[Sample]) -> None:
        """These were not stored after all: the next readings of their series are stored as if they were the first."""
        for sample in samples:
            self._last.pop((sample.name, sample.labels), None)

    def _remember(self, key: tuple[str, Labels], last: _Last) -> None:
        if len(self._last) >= self._max_series:
            del self._last[next(iter(self._last))]
        self._last[key] = last
