"""How long to wait before the next attempt. No I/O."""

import random

MAX_ASKED_S = 600.0
"""A back end that asks for more is asked again after this."""


class Backoff:
    """A random time between the least and what doubles with each failure (full jitter), or what the back end asked
    for if that is more."""

    def __init__(self, least_s: float, most_s: float, rng: random.Random) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """In a row."""
        return self._failures

    def failed(self, asked_s: float | None = None) -> float:
        """Seconds to wait."""
        self._failures += 1
        ceiling = min(self._most_s, self._least_s * 2.0 ** min(self._failures, 60))
        # Never less than the least: a back end that is overloaded is not asked again at once.
        wait = self._least_s + self._rng.random() * max(0.0, ceiling - self._least_s)
        return max(wait, min(asked_s or 0.0, MAX_ASKED_S))

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0
