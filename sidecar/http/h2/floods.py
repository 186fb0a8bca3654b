"""Counts what a peer may do only so often."""


class Rate:
    """At most `limit` within a window that begins with the first one counted."""

    __slots__ = ("_count", "_limit", "_until", "_window_s")

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._count = 0
        self._until = 0.0

    def exceeded(self, now: float) -> bool:
        """Count one more. `now` is monotonic seconds."""
        if now >= self._until:
            self._until = now + self._window_s
            self._count = 0
        self._count += 1
        return self._count > self._limit
