"""When to push: changes that come together are pushed together. No I/O; `now` is monotonic."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Debounce:
    """How long to wait for more."""

    quiet_s: float = 0.02
    """After the last change."""
    max_s: float = 0.2
    """After the first: a mesh that never rests is pushed to all the same."""


@dataclass(slots=True)
class ChangeQueue:
    """Merges changes. What changed is not kept, only why and since when: the newest World has it all."""

    debounce: Debounce = field(default_factory=Debounce)
    _first: float | None = None
    _last: float = 0.0
    _reasons: dict[str, int] = field(default_factory=dict)

    def note(self, reason: str, now: float) -> None:
        """Something changed."""
        if self._first is None:
            self._first = now
        self._last = now
        self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def due_at(self) -> float | None:
        """When to push; None while there is nothing."""
        if self._first is None:
            return None
        return min(self._last + self.debounce.quiet_s, self._first + self.debounce.max_s)

    def take(self) -> tuple[float, dict[str, int]]:
        """Since when changes waited, and how many there were for each reason; the queue is empty then."""
        assert self._first is not None, "take() follows due_at()"
        taken = self._first, self._reasons
        self._first, self._reasons = None, {}
        return taken
