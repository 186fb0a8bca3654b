"""Weighted choice."""

import random
from collections import Counter

import pytest

from sidecar.routing.weights import WeightedPicker


@pytest.mark.parametrize(("r", "expected"), [(0.0, "a"), (0.7999, "a"), (0.8, "b"), (0.9999999999999999, "b")])
def test_each_item_has_its_share(r: float, expected: str) -> None:
    assert WeightedPicker([("a", 80), ("b", 20)]).pick(r) == expected


def test_weight_nothing_is_never_picked() -> None:
    picker = WeightedPicker([("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 0)])
    assert [picker.pick(r) for r in (0.0, 0.49, 0.5, 0.99)] == ["b", "b", "d", "d"]
    assert picker.items == ("b", "d")


def test_weights_are_relative() -> None:
    rng = random.Random(1)
    picker = WeightedPicker([("a", 1), ("b", 2), ("c", 7)])
    drawn = Counter(picker.pick(rng.random()) for _ in range(10_000))
    # Within four standard deviations of the binomial distribution.
    for item, share in (("a", 0.1), ("b", 0.2), ("c", 0.7)):
        assert abs(drawn[item] - 10_000 * share) < 4 * (10_000 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("weights", [(), (("a", 0),), (("a", -1), ("b", 2))])
def test_refuses_weights_without_a_positive_sum(weights: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError, match="weight"):
        WeightedPicker(weights)
