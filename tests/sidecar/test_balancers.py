"""Balancers: tables, seeded dice."""

import random
from collections import Counter

import pytest

from sidecar.clusters.balancers import make_balancer
from sidecar.config.cluster import Balancing
from sidecar.config.endpoint import Address, Endpoint

ALL = list(Balancing)


class _Instance:
    def __init__(self, name: str, weight: int = 1, active: int = 0) -> None:
        self.config = Endpoint(Address(name, 80), weight=weight)
        self.active = active
        self.healthy = True

    def __repr__(self) -> str:
        return self.config.address.host


def _names(balancing: Balancing, instances: list[_Instance], picks: int, seed: int = 1) -> list[str]:
    balancer = make_balancer(balancing, instances, random.Random(seed))
    return [str(balancer.pick()) for _ in range(picks)]


@pytest.mark.parametrize("balancing", ALL)
def test_without_endpoints_none_is_picked(balancing: Balancing) -> None:
    assert make_balancer(balancing, [], random.Random(1)).pick() is None


@pytest.mark.parametrize("balancing", ALL)
def test_the_only_endpoint_is_picked_even_if_tried(balancing: Balancing) -> None:
    only = _Instance("a")
    assert make_balancer(balancing, [only], random.Random(1)).pick([only]) is only


@pytest.mark.parametrize("balancing", ALL)
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 5)])
def test_a_retry_goes_elsewhere_while_there_is_an_elsewhere(balancing: Balancing, weights: tuple[int, ...]) -> None:
    instances = [_Instance(str(at), weight) for at, weight in enumerate(weights)]
    balancer = make_balancer(balancing, instances, random.Random(1))
    for _ in range(100):
        first = balancer.pick()
        assert first is not None
        second = balancer.pick([first])
        assert second is not None
        third = balancer.pick([first, second])
        assert {first, second, third} == set(instances)
        assert balancer.pick(instances) in instances


def test_round_robin_takes_turns() -> None:
    names = _names(Balancing.ROUND_ROBIN, [_Instance("a"), _Instance("b"), _Instance("c")], 9)
    assert names[:3] == names[3:6] == names[6:]
    assert set(names[:3]) == {"a", "b", "c"}


def test_round_robin_starts_anywhere() -> None:
    instances = [_Instance("a"), _Instance("b"), _Instance("c")]
    assert {_names(Balancing.ROUND_ROBIN, instances, 1, seed)[0] for seed in range(20)} == {"a", "b", "c"}


def test_weighted_round_robin_is_exact_and_smooth() -> None:
    instances = [_Instance("a", 5), _Instance("b", 1), _Instance("c", 2)]
    names = _names(Balancing.ROUND_ROBIN, instances, 800)
    assert {name: abs(names.count(name) - share) <= 1 for name, share in (("a", 500), ("b", 100), ("c", 200))} == {
        "a": True, "b": True, "c": True,
    }  # fmt: skip
    # Smooth: the light ones come between the heavy one's, never in a lump of its whole share.
    assert "aaaaaa" not in "".join(names)


def test_least_request_prefers_the_idle() -> None:
    instances = [_Instance("busy", active=10), _Instance("idle")]
    drawn = Counter(_names(Balancing.LEAST_REQUEST, instances, 2_000))
    # The busy one is taken only when both draws are it: a quarter.
    assert 0.20 < drawn["busy"] / 2_000 < 0.30


def test_least_request_spreads_requests_that_last() -> None:
    instances = [_Instance(str(at)) for at in range(4)]
    balancer = make_balancer(Balancing.LEAST_REQUEST, instances, random.Random(1))
    for _ in range(400):
        chosen = balancer.pick()
        assert chosen is not None
        chosen.active += 1
    assert max(each.active for each in instances) - min(each.active for each in instances) <= 4


def test_weighted_least_request_divides_the_weight_by_the_load() -> None:
    busy, idle = _Instance("busy", 2, active=3), _Instance("idle", 1)
    drawn = Counter(_names(Balancing.LEAST_REQUEST, [busy, idle], 3_000))
    # Effective weights are 2 / (3 + 1) and 1.
    assert abs(drawn["idle"] - 2_000) <= 2


def test_random_follows_the_weights() -> None:
    drawn = Counter(_names(Balancing.RANDOM, [_Instance("a", 3), _Instance("b", 1)], 10_000))
    assert abs(drawn["a"] - 7_500) < 4 * (10_000 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("balancing", ALL)
def test_the_same_seed_picks_the_same(balancing: Balancing) -> None:
    instances = [_Instance("a", 3), _Instance("b", 1), _Instance("c", 1)]
    assert _names(balancing, instances, 50, seed=7) == _names(balancing, instances, 50, seed=7)
