"""Times as Elasticsearch reads them, and what becomes of a clock that is far off. Pure."""

from datetime import UTC, datetime

EARLIEST_S = 366 * 86400.0
"""1971-01-02: what says it is older comes from a clock that nobody has set."""

_PREFIXES = 4096
"""Seconds whose text is kept; then all are made anew."""


class Timestamps:
    """Seconds since the Unix epoch as `2026-01-31T12:00:00.123456Z`; times that cannot be are told apart."""

    def __init__(self, max_ahead_s: float) -> None:
        self._max_ahead_s = max_ahead_s
        self._seconds: dict[int, str] = {}

    def is_plausible(self, time: float, now: float) -> bool:
        """False for NaN, infinity, times before 1971 and those more than `max_ahead_s` ahead of `now`."""
        return EARLIEST_S <= time <= now + self._max_ahead_s

    def text(self, time: float) -> str:
        """`time` must be plausible."""
        second = int(time)
        micros = int((time - second) * 1e6 + 0.5)
        if micros == 1_000_000:
            second, micros = second + 1, 0
        prefix = self._seconds.get(second)
        if prefix is None:
            if len(self._seconds) >= _PREFIXES:
                self._seconds.clear()
            prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._seconds[second] = prefix
        return f"{prefix}.{micros:06d}Z"
