"""Choose one endpoint of a cluster: round robin, least request, random. Pure: the dice are injected.

Follows Envoy's load balancers: equal weights rotate or draw twice and compare; differing weights are served by an
earliest-deadline-first schedule. Which endpoints there are to choose from, `priorities` says.
"""

import heapq
import random
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from sidecar.config.cluster import Balancing
from sidecar.config.endpoint import Endpoint


class Candidate(Protocol):
    """What a balancer picks: an endpoint and how busy it is."""

    config: Endpoint
    active: int
    """Requests under way."""

    @property
    def healthy(self) -> bool:
        """As far as the control plane and its own answers say."""


E = TypeVar("E", bound=Candidate)


class Balancer(Protocol[E]):
    """One cluster's choice."""

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        """The next endpoint, another than those `tried` where there is one (a retry); None if there is none at all."""


def make_balancer(balancing: Balancing, endpoints: Sequence[E], rng: random.Random) -> Balancer[E]:
    """The balancer for these endpoints, each of which has a weight and may be picked."""
    if len(endpoints) < 2:
        return _Single(endpoints)
    if balancing is Balancing.RANDOM:
        return _Random(endpoints, rng)
    least = balancing is Balancing.LEAST_REQUEST
    if any(endpoint.config.weight != endpoints[0].config.weight for endpoint in endpoints):
        return _Scheduled(endpoints, rng, least)
    return _LeastRequest(endpoints, rng) if least else _RoundRobin(endpoints, rng)


def _untried(endpoints: Sequence[E], tried: Sequence[E]) -> Sequence[E]:
    """Those not `tried`; all of them where all were."""
    return [endpoint for endpoint in endpoints if endpoint not in tried] or endpoints


class _Single(Generic[E]):
    """None or one: nothing to choose."""

    __slots__ = ("_only",)

    def __init__(self, endpoints: Sequence[E]) -> None:
        self._only = endpoints[0] if endpoints else None

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        return self._only


class _RoundRobin(Generic[E]):
    """Equal weights, in turn. Starts anywhere, so that many sidecars do not all begin with the first endpoint."""

    __slots__ = ("_endpoints", "_next")

    def __init__(self, endpoints: Sequence[E], rng: random.Random) -> None:
        self._endpoints = endpoints
        self._next = rng.randrange(len(endpoints))

    def _turn(self) -> E:
        position = self._next
        self._next = position + 1 if position + 1 < len(self._endpoints) else 0
        return self._endpoints[position]

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        chosen = self._turn()
        if tried:
            for _ in range(len(self._endpoints) - 1):
                if chosen not in tried:
                    break
                chosen = self._turn()
        return chosen


class _LeastRequest(Generic[E]):
    """Equal weights: of two drawn at random, the less busy one (power of two choices)."""

    __slots__ = ("_endpoints", "_random")

    def __init__(self, endpoints: Sequence[E], rng: random.Random) -> None:
        self._endpoints = endpoints
        self._random = rng.random

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        endpoints = self._endpoints
        if tried:
            endpoints = _untried(endpoints, tried)
        count = len(endpoints)
        draw = self._random
        one = endpoints[int(draw() * count)]
        other = endpoints[int(draw() * count)]
        return other if other.active < one.active else one


class _Random(Generic[E]):
    """Any, in proportion to weight, however busy."""

    __slots__ = ("_cumulative", "_endpoints", "_rng")

    def __init__(self, endpoints: Sequence[E], rng: random.Random) -> None:
        self._endpoints = endpoints
        self._rng = rng

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        endpoints = _untried(self._endpoints, tried) if tried else self._endpoints
        return self._rng.choices(endpoints, [endpoint.config.weight for endpoint in endpoints])[0]


class _Scheduled(Generic[E]):
    """Differing weights: each endpoint is due again 1/weight after it was picked; the earliest is next.

    Least request divides the weight by the requests under way plus one (Envoy's active request bias of 1), at the
    time of picking.
    """

    __slots__ = ("_endpoints", "_heap", "_least", "_order")

    def __init__(self, endpoints: Sequence[E], rng: random.Random, least: bool) -> None:
        self._endpoints = endpoints
        self._least = least
        self._order = len(endpoints)
        # A random start within each endpoint's own period: many sidecars do not all begin with the heaviest.
        self._heap = [
            (rng.random() / endpoint.config.weight, order, endpoint) for order, endpoint in enumerate(endpoints)
        ]
        heapq.heapify(self._heap)

    def _turn(self) -> E:
        heap = self._heap
        due, _, endpoint = heap[0]
        share = (endpoint.active + 1 if self._least else 1) / endpoint.config.weight
        self._order += 1
        heapq.heapreplace(heap, (due + share, self._order, endpoint))
        return endpoint

    def pick(self, tried: Sequence[E] = ()) -> E | None:
        chosen = self._turn()
        if tried and chosen in tried:
            # Out of turn, without a walk through the schedule that could take as long as the weights differ.
            others = _untried(self._endpoints, tried)
            chosen = min(others, key=lambda each: (each.active + 1) / each.config.weight)
        return chosen
