"""Growth told piece by piece, as counters that grow. No I/O; times are seconds since the epoch.

A piece that comes again (its sender got no answer) ends no later than what was counted last, and is not counted twice.
What was counted is in memory alone: after a restart counters begin anew at zero, which everyone who reads them expects.
"""

from dataclasses import dataclass

from collectors.records import Histogram, Sample

MAX_SERIES = 100_000
"""Beyond it the one that was silent longest begins anew."""


class OtherBuckets(ValueError):
    """A histogram's buckets are not those of the pieces before."""


@dataclass(slots=True)
class _Total:
    value: float
    histogram: Histogram | None
    until: float


class Deltas:
    """Remembers the sums."""

    def __init__(self, *, max_series: int = MAX_SERIES) -> None:
        self._totals: dict[tuple[str, tuple[tuple[str, str], ...]], _Total] = {}
        self._max_series = max_series
        self.repeated = 0
        """Pieces that had been counted before."""

    def add(self, piece: Sample, start: float) -> list[Sample]:
        """What the counter shows now: nothing for a piece that is known, and for the first one that it was zero at
        `start` as well. Raises OtherBuckets."""
        assert piece.value is not None
        key = (piece.name, piece.labels)
        total = self._totals.pop(key, None)
        if total is None:
            if len(self._totals) >= self._max_series:
                del self._totals[next(iter(self._totals))]
            self._totals[key] = _Total(piece.value, piece.histogram, piece.time)
            return [_zero(piece, start), piece] if 0 < start < piece.time else [piece]
        self._totals[key] = total
        if piece.time <= total.until:
            self.repeated += 1
            return []
        if piece.histogram is not None:
            if total.histogram is None or total.histogram.bounds != piece.histogram.bounds:
                del self._totals[key]
                raise OtherBuckets("its buckets are not those of before: the counter begins anew with the next")
            counts = tuple(old + new for old, new in zip(total.histogram.counts, piece.histogram.counts, strict=True))
            total.histogram = Histogram(piece.histogram.bounds, counts, total.histogram.sum + piece.histogram.sum)
        total.value += piece.value
        total.until = piece.time
        return [piece._replace(value=total.value, histogram=total.histogram)]


def _zero(piece: Sample, start: float) -> Sample:
    histogram = piece.histogram
    zero = None if histogram is None else Histogram(histogram.bounds, (0,) * len(histogram.counts), 0.0)
    return piece._replace(time=start, value=0.0, histogram=zero, exemplars=())
