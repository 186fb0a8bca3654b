"""Changes wait for each other, but not for ever."""

import pytest

from control.xds.queue import ChangeQueue, Debounce


def test_nothing_is_due_while_nothing_changed() -> None:
    assert ChangeQueue().due_at() is None


def test_a_single_change_is_due_after_the_quiet_time() -> None:
    queue = ChangeQueue()
    queue.note("rules", 10.0)
    assert queue.due_at() == pytest.approx(10.02)


def test_flapping_is_pushed_at_the_latest_after_the_maximum() -> None:
    queue = ChangeQueue(Debounce(quiet_s=0.02, max_s=0.2))
    for step in range(100):
        queue.note("endpoints", 10 + step * 0.01)
    assert queue.due_at() == pytest.approx(10.2)
    assert queue.take() == (10.0, {"endpoints": 100})
    assert queue.due_at() is None


def test_reasons_are_counted_apart() -> None:
    queue = ChangeQueue()
    queue.note("rules", 1)
    queue.note("workload", 2)
    queue.note("rules", 3)
    assert queue.take() == (1, {"rules": 2, "workload": 1})
