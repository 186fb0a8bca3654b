"""Shares of priorities and panic, by Envoy's published tables; which endpoints are picked for it."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.priorities import make_choice, spread
from sidecar.config.cluster import Balancing, Cluster
from sidecar.config.endpoint import Address, Endpoint

ALL = list(Balancing)


class Instance:
    def __init__(self, name: str, *, healthy: bool = True, priority: int = 0, weight: int = 1) -> None:
        self.config = Endpoint(Address(name, 80), weight=weight, priority=priority)
        self.active = 0
        self.healthy = healthy


def picked(instances: list[Instance], picks: int = 1000, **config: object) -> Counter[str]:
    choice = make_choice(Cluster("c", **config), instances, random.Random(1))  # type: ignore[arg-type]
    found = (choice.pick() for _ in range(picks))
    return Counter("nobody" if each is None else each.config.address.host for each in found)


@pytest.mark.parametrize(
    ("healthy", "shares"),
    [
        # Of 100 each, in two priorities: the table of Envoy's "Priority levels".
        ((100, 100), (100, 0)),
        ((72, 100), (100, 0)),
        ((71, 100), (99, 1)),
        ((50, 100), (70, 30)),
        ((25, 100), (35, 65)),
        ((0, 100), (0, 100)),
        ((50, 50), (70, 30)),
        ((25, 25), (50, 50)),
    ],
)
def test_the_next_priority_gets_what_the_first_cannot_carry(healthy: tuple[int, int], shares: tuple[int, int]) -> None:
    levels = spread([(each, 100) for each in healthy], 0, 140)
    assert tuple(level.share for level in levels) == shares
    assert not any(level.panics for level in levels)


@pytest.mark.parametrize(
    ("healthy", "shares", "panics"),
    [
        # The same page's table of panic, threshold 50 percent, 10 endpoints each.
        ((7, 3, 2), (98, 2, 0), (False, False, False)),
        ((4, 1, 0), (80, 20, 0), (True, True, True)),
    ],
)
def test_panic_is_of_those_with_too_few_and_only_where_all_together_have_too_few(
    healthy: tuple[int, ...], shares: tuple[int, ...], panics: tuple[bool, ...]
) -> None:
    levels = spread([(each, 10) for each in healthy], 50, 140)
    if all(panics):
        # In panic everywhere requests go by the number of endpoints.
        assert [level.share for level in levels] == [34, 33, 33]
    else:
        assert tuple(level.share for level in levels) == shares
    assert tuple(level.panics for level in levels) == panics


@given(
    st.lists(st.integers(0, 20).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))), min_size=1),
    st.floats(0, 100),
    st.integers(100, 1000),
)
def test_shares_are_always_the_whole_and_none_goes_where_nobody_is(
    sizes: list[tuple[int, int]], panic: float, overprovisioning: int
) -> None:
    levels = spread(sizes, panic, overprovisioning)
    some = any(size for _, size in sizes)
    well = any(healthy for healthy, _ in sizes)
    if well or (some and round(panic) > 0):
        assert sum(level.share for level in levels) == 100
        for level, (healthy, size) in zip(levels, sizes, strict=True):
            if level.share:
                assert healthy or (level.panics and size)


@pytest.mark.parametrize("balancing", ALL)
def test_unhealthy_endpoints_are_left_out(balancing: Balancing) -> None:
    instances = [Instance("a", healthy=False), Instance("b"), Instance("c")]
    assert set(picked(instances, balancing=balancing)) == {"b", "c"}


@pytest.mark.parametrize("balancing", ALL)
def test_with_fewer_healthy_ones_than_the_threshold_all_are_picked(balancing: Balancing) -> None:
    instances = [Instance("a", healthy=False), Instance("b"), Instance("c", healthy=False)]
    assert set(picked(instances, balancing=balancing)) == {"a", "b", "c"}
    assert set(picked(instances, balancing=balancing, panic_percent=33.0)) == {"b"}


def test_if_all_are_unhealthy_all_are_picked_unless_there_is_no_panic() -> None:
    instances = [Instance("a", healthy=False), Instance("b", healthy=False)]
    assert set(picked(instances)) == {"a", "b"}
    assert set(picked(instances, panic_percent=0.0)) == {"nobody"}


def test_an_endpoint_of_weight_nothing_is_drained() -> None:
    assert set(picked([Instance("a", weight=0), Instance("b"), Instance("c")])) == {"b", "c"}
    assert set(picked([Instance("a", weight=0)])) == {"nobody"}


def test_the_next_priority_is_used_when_the_first_has_nobody_left_and_no_more_when_it_has() -> None:
    near, far = Instance("near"), Instance("far", priority=1)
    assert set(picked([near, far], panic_percent=0.0)) == {"near"}
    near.healthy = False
    assert set(picked([near, far], panic_percent=0.0)) == {"far"}
    far.healthy = False
    assert set(picked([near, far], panic_percent=0.0)) == {"nobody"}


def test_half_of_the_near_ones_carry_seven_tenths() -> None:
    instances = [Instance("a"), Instance("b", healthy=False), Instance("c", priority=1), Instance("d", priority=1)]
    found = picked(instances, 10_000, panic_percent=0.0)
    assert set(found) == {"a", "c", "d"}
    assert 6_800 < found["a"] < 7_200


def test_a_priority_without_endpoints_is_passed_over() -> None:
    assert set(picked([Instance("a", priority=2), Instance("b", priority=3)], panic_percent=0.0)) == {"a"}
