"""How long to wait before trying again. Jitter keeps a thousand sidecars from coming back in one instant."""

import random


class Backoff:
    """Doubling delays up to a ceiling, each drawn from its upper half."""

    def __init__(self, rng: random.Random, *, base_s: float, max_s: float) -> None:
        self._rng = rng
        self._base_s = base_s
        self._max_s = max_s
        self._ceiling_s = base_s

    def next_s(self) -> float:
        """The next delay in seconds."""
        ceiling, self._ceiling_s = self._ceiling_s, min(self._ceiling_s * 2, self._max_s)
        return ceiling * (0.5 + self._rng.random() / 2)

    def reset(self) -> None:
        """It worked: the next failure starts over."""
        self._ceiling_s = self._base_s
