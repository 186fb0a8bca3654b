"""Token buckets, one per peer, in bounded memory."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then so many a second."""

    burst: float
    per_s: float


class Buckets:
    """One bucket for each key. `now` is monotonic."""

    def __init__(self, rate: Rate, *, max_keys: int = 16_384) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Whether `key` may do it once more; counts it if so."""
        level, at = self._levels.pop(key, (self._rate.burst, now))
        level = min(self._rate.burst, level + max(0.0, now - at) * self._rate.per_s)
        allowed = level >= 1
        self._levels[key] = (level - 1 if allowed else level, now)
        if len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)  # the one not seen for longest has had the most time to fill up
        return allowed

    def exhausted(self, key: str, now: float) -> bool:
        """Whether `take` would refuse, without counting anything."""
        level, at = self._levels.get(key, (self._rate.burst, now))
        return min(self._rate.burst, level + max(0.0, now - at) * self._rate.per_s) < 1

    def __len__(self) -> int:
        return len(self._levels)
