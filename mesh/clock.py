"""The clock and the dice, injected. The only file besides lifecycle that asks the machine for either."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: one to show people and put in certificates, one to measure with."""

    def now(self) -> float:
        """Seconds since the Unix epoch; may jump."""

    def monotonic(self) -> float:
        """Seconds since some point; never goes back."""


class SystemClock:
    """The machine's clock. No method of our own between: the data plane asks several times per request."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def system_rng() -> random.Random:
    """A generator for jitter and load balancing; seeded by the operating system, not for secrets."""
    return random.Random()  # noqa: S311
