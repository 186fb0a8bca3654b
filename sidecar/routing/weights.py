"""Choose among weighted items. Pure: the dice are the caller's."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")


class WeightedPicker(Generic[T]):
    """Items drawn in proportion to their weights. An item of weight 0 is never drawn.

    Raises ValueError for a negative weight or a sum of 0: the decoder has refused such a route before.
    """

    __slots__ = ("_bounds", "_items", "_only", "_total")

    def __init__(self, items: Sequence[tuple[T, int]]) -> None:
        if any(weight < 0 for _, weight in items):
            raise ValueError("a weight is negative")
        drawn = [(item, weight) for item, weight in items if weight]
        if not drawn:
            raise ValueError("the sum of the weights is 0")
        self._items = [item for item, _ in drawn]
        self._bounds = list(accumulate(weight for _, weight in drawn))
        self._total = self._bounds[-1]
        self._only = len(drawn) == 1

    @property
    def items(self) -> tuple[T, ...]:
        """What can be drawn, in the order given."""
        return tuple(self._items)

    def pick(self, r: float) -> T:
        """The item whose share of [0, 1) holds `r`."""
        if self._only:
            return self._items[0]
        return self._items[bisect_right(self._bounds, r * self._total)]
