"""Delays between attempts."""

import random

from sidecar.agent.backoff import Backoff


def test_delays_double_up_to_the_ceiling_each_in_its_upper_half() -> None:
    backoff = Backoff(random.Random(1), base_s=1.0, max_s=5.0)
    delays = [backoff.next_s() for _ in range(5)]
    for delay, ceiling in zip(delays, [1, 2, 4, 5, 5], strict=True):
        assert ceiling / 2 <= delay <= ceiling


def test_a_success_starts_over() -> None:
    backoff = Backoff(random.Random(1), base_s=1.0, max_s=100.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_a_thousand_sidecars_do_not_come_back_at_once() -> None:
    rng = random.Random(1)
    delays = sorted(Backoff(rng, base_s=1.0, max_s=10.0).next_s() for _ in range(1000))
    assert delays[-1] - delays[0] > 0.49
