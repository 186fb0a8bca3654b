"""Which of a cluster's priorities requests go to, and to which of their endpoints, as healthy as those are. Pure.

Follows Envoy: the first priority takes all while enough of its endpoints are healthy, the next ones what it cannot;
with too few healthy ones (panic) health counts for nothing.
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
"""

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from sidecar.clusters.balancers import Balancer, Candidate, make_balancer
from sidecar.config.cluster import Balancing, Cluster

E = TypeVar("E", bound=Candidate)


class Level:
    """One priority's share of the requests, percent, and whether all of its endpoints get them, healthy or not."""

    __slots__ = ("panics", "share")

    def __init__(self, share: int, panics: bool) -> None:
        self.share = share
        self.panics = panics


def spread(sizes: Sequence[tuple[int, int]], panic_percent: float, overprovisioning_percent: int) -> list[Level]:
    """`sizes`: of each priority, how many endpoints are healthy and how many there are."""
    health = [min(100, overprovisioning_percent * healthy // size) if size else 0 for healthy, size in sizes]
    available = min(100, sum(health))
    threshold = min(100, round(panic_percent))
    panics = [available < 100 and (100.0 * healthy / size if size else 0.0) < threshold for healthy, size in sizes]
    if all(panics):
        # Nobody is well enough: endpoints are alike, wherever they are.
        total = sum(size for _, size in sizes)
        return _levels([100 * size // total if total else 0 for _, size in sizes], [size for _, size in sizes], panics)
    if not available:
        return [Level(100 if index == 0 else 0, False) for index in range(len(sizes))]
    return _levels([each * 100 // available for each in health], health, panics)


def _levels(wanted: Sequence[int], usable: Sequence[int], panics: Sequence[bool]) -> list[Level]:
    """What is left of 100 by rounding goes to the first that is `usable`."""
    left = 100
    levels: list[Level] = []
    for share, panicking in zip(wanted, panics, strict=True):
        level = Level(min(left, share), panicking)
        left -= level.share
        levels.append(level)
    for level, some in zip(levels, usable, strict=True):
        if some:
            level.share += left
            break
    return levels


def make_choice(config: Cluster, endpoints: Sequence[E], rng: random.Random) -> Balancer[E]:
    """The balancer for a cluster's endpoints as healthy as they are now. One without weight is never picked."""
    weighted = [endpoint for endpoint in endpoints if endpoint.config.weight > 0]
    if all(endpoint.healthy and endpoint.config.priority == 0 for endpoint in weighted):
        return make_balancer(config.balancing, weighted, rng)
    numbers = range(max(endpoint.config.priority for endpoint in weighted) + 1)
    priorities = [[each for each in weighted if each.config.priority == number] for number in numbers]
    healthy = [[each for each in members if each.healthy] for members in priorities]
    sizes = [(len(well), len(members)) for well, members in zip(healthy, priorities, strict=True)]
    levels = spread(sizes, config.panic_percent, config.overprovisioning_percent)
    chosen = [
        (level.share, members if level.panics else well)
        for level, members, well in zip(levels, priorities, healthy, strict=True)
        if level.share
    ]
    if len(chosen) == 1:
        return make_balancer(config.balancing, chosen[0][1], rng)
    return _Priorities(config.balancing, chosen, rng)


class _Priorities(Generic[E]):
    """A priority in proportion to its share, then its own balancer's choice."""

    __slots__ = ("_balancers", "_random", "_until")

    def __init__(self, balancing: Balancing, chosen: Sequence[tuple[int, Sequence[E]]], rng: random.Random) -> None:
        self._random = rng.random
        self._balancers: list[Balancer[E]] = [make_balancer(balancing, members, rng) for _, members in chosen]
        self._until: list[float] = []
        total = 0
        for share, _ in chosen:
            total += share
            self._until.append(total / 100)

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        drawn = self._random()
        index = 0
        while drawn >= self._until[index] and index + 1 < len(self._until):
            index += 1
        return self._balancers[index].pick(tried)
