"""How long to wait before trying again: exponential, with full jitter, by an injected generator. Pure."""

import random

# https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: full jitter spreads many clients best.


class Backoff:
    """One for each thing that is tried again."""

    def __init__(self, rng: random.Random, *, first_s: float = 0.5, most_s: float = 30.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait after one more failure; never less than what the server asked for."""
        # Bounded, for 2 to the power of a night's failures is no float.
        ceiling = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(at_least_s, self._rng.uniform(0.0, ceiling))

    def about_s(self, seconds: float) -> float:
        """That long, give or take a quarter: for what is tried at a steady pace."""
        return seconds * self._rng.uniform(0.75, 1.25)

    def reset(self) -> None:
        """It works again."""
        self._failures = 0
