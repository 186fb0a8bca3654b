"""When a request is tried again, and after how long. Pure: dice and timer are injected."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sidecar.config.route import RetryOn, RetryPolicy

_GRPC: Final = {
    RetryOn.CANCELLED: 1,
    RetryOn.DEADLINE_EXCEEDED: 4,
    RetryOn.RESOURCE_EXHAUSTED: 8,
    RetryOn.INTERNAL: 13,
    RetryOn.UNAVAILABLE: 14,
}


@dataclass(frozen=True, slots=True)
class Retries:
    """A retry policy, ready to be asked."""

    policy: RetryPolicy
    on_connect_failure: bool
    on_reset: bool
    on_refused: bool
    statuses: frozenset[int]
    grpc_statuses: frozenset[int]
    """Of calls whose answer is this status and nothing else: then nothing of the answer has been used."""
    rng: random.Random = field(repr=False)
    call_later: Callable[[float, Callable[[], None]], object] = field(repr=False)

    @classmethod
    def of(
        cls,
        policy: RetryPolicy,
        rng: random.Random,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> "Retries":
        on = policy.on
        statuses: set[int] = set()
        if RetryOn.SERVER_ERROR in on:
            statuses.update(range(500, 600))
        if RetryOn.GATEWAY_ERROR in on:
            statuses.update((502, 503, 504))
        if RetryOn.RETRIABLE_4XX in on:
            statuses.add(409)
        if RetryOn.STATUS_CODES in on:
            statuses |= policy.status_codes
        resets = {RetryOn.RESET, RetryOn.RESET_BEFORE_REQUEST, RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR}
        return cls(
            policy,
            bool(on & {RetryOn.CONNECT_FAILURE, RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR, RetryOn.RESET}),
            bool(on & resets),
            bool(on & (resets | {RetryOn.REFUSED_STREAM})),
            frozenset(statuses),
            frozenset([_GRPC[condition] for condition in on if condition in _GRPC]),
            rng,
            call_later,
        )

    def back_off_s(self, retry: int) -> float:
        """Seconds to wait before the `retry`-th try again (from 1): exponential with full jitter, as Envoy's."""
        policy = self.policy
        ceiling: float = min(policy.max_interval_s, policy.base_interval_s * (2**retry - 1))
        return self.rng.uniform(0.0, ceiling)
