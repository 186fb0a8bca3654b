"""Waiting grows, is spread over all of its range, and never goes below what the server asked for."""

import random

from control.kubernetes.backoff import Backoff


def test_the_ceiling_doubles_to_its_bound_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(random.Random(0), first_s=1.0, most_s=8.0)
    rounds = [[] for _ in range(6)]
    for _ in range(300):
        backoff.reset()
        for waits in rounds:
            waits.append(backoff.next_s())
    for waits, ceiling in zip(rounds, [1, 2, 4, 8, 8, 8], strict=True):
        assert 0.9 * ceiling < max(waits) <= ceiling
        assert min(waits) < 0.1 * ceiling, "the jitter is full: nobody waits in step with others"


def test_a_server_that_names_a_time_is_not_asked_before() -> None:
    assert Backoff(random.Random(0)).next_s(at_least_s=7.0) == 7.0


def test_failures_of_a_whole_night_are_no_overflow() -> None:
    backoff = Backoff(random.Random(0))
    assert all(0 <= backoff.next_s() <= 30.0 for _ in range(5_000))
