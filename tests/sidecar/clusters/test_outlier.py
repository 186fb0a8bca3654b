"""Who is ejected, when and for how long: tables and a clock that the test turns, then whatever may happen."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clusters.outlier import (
    CONSECUTIVE_5XX,
    CONSECUTIVE_GATEWAY,
    CONSECUTIVE_LOCAL,
    Detector,
    Host,
)
from sidecar.config.outlier import OutlierDetection

ALL = OutlierDetection(max_ejection_percent=100)


def make(config: OutlierDetection, size: int = 2, seed: int = 1) -> tuple[Detector, list[Host]]:
    detector = Detector(config, random.Random(seed))
    hosts = [Host() for _ in range(size)]
    for host in hosts:
        detector.add(host)
    return detector, hosts


def answers(detector: Detector, host: Host, *statuses: int, now: float = 0.0) -> list[str | None]:
    return [detector.answered(host, status, now) for status in statuses]


def out(hosts: list[Host]) -> list[bool]:
    return [host.ejected for host in hosts]


def test_the_fifth_error_in_a_row_ejects() -> None:
    detector, hosts = make(ALL)
    assert answers(detector, hosts[0], 500, 500, 503, 599, 501) == [None] * 4 + [CONSECUTIVE_5XX]
    assert out(hosts) == [True, False]


def test_an_answer_below_500_ends_the_row() -> None:
    detector, hosts = make(ALL)
    assert set(answers(detector, hosts[0], *[500] * 4, 404, *[500] * 4, 101, *[500] * 4)) == {None}


def test_errors_of_gateways_have_a_row_of_their_own_that_other_errors_end() -> None:
    config = OutlierDetection(
        consecutive_5xx=0, consecutive_gateway=3, enforcing_consecutive_gateway=100, max_ejection_percent=100
    )
    detector, hosts = make(config)
    assert answers(detector, hosts[0], 502, 503, 500, 502, 503, 504) == [None] * 5 + [CONSECUTIVE_GATEWAY]


def test_zero_is_never() -> None:
    detector, hosts = make(OutlierDetection(consecutive_5xx=0, consecutive_gateway=0, max_ejection_percent=100))
    assert set(answers(detector, hosts[0], *[503] * 100)) == {None}


def test_unless_split_what_fails_on_our_side_counts_as_an_answer_of_its_status() -> None:
    config = OutlierDetection(
        consecutive_5xx=0, consecutive_gateway=2, enforcing_consecutive_gateway=100, max_ejection_percent=100
    )
    detector, hosts = make(config)
    assert detector.failed(hosts[0], 503, 0.0, False) is None
    assert answers(detector, hosts[0], 504) == [CONSECUTIVE_GATEWAY]


SPLIT = OutlierDetection(consecutive_5xx=2, split=True, consecutive_local=3, max_ejection_percent=100)


def test_split_failures_to_connect_have_a_row_of_their_own() -> None:
    detector, hosts = make(SPLIT)
    assert [detector.failed(hosts[0], 503, 0.0, False) for _ in range(3)] == [None, None, CONSECUTIVE_LOCAL]
    assert hosts[0].errors == 0


@pytest.mark.parametrize("status", [200, 500])
def test_split_an_answer_of_any_kind_ends_the_row_of_failures(status: int) -> None:
    detector, hosts = make(SPLIT)
    detector.failed(hosts[0], 503, 0.0, False)
    detector.failed(hosts[0], 503, 0.0, False)
    detector.answered(hosts[0], status, 0.0)
    assert detector.failed(hosts[0], 503, 0.0, False) is None


def test_split_an_answer_that_is_lost_was_preceded_by_a_connection() -> None:
    detector, hosts = make(SPLIT)
    assert [detector.failed(hosts[0], 503, 0.0, True) for _ in range(10)] == [None] * 10


@pytest.mark.parametrize(
    ("percent", "size", "ejected"),
    [(10, 2, 0), (50, 2, 1), (49, 2, 0), (10, 10, 1), (34, 3, 1), (0, 3, 0), (100, 3, 3)],
)
def test_of_all_no_more_than_so_many_are_out(percent: int, size: int, ejected: int) -> None:
    detector, hosts = make(OutlierDetection(consecutive_5xx=1, max_ejection_percent=percent), size)
    for host in hosts:
        detector.answered(host, 500, 0.0)
    assert sum(out(hosts)) == detector.active == ejected
    assert detector.counts.overflow == size - ejected
    assert detector.counts.detected[CONSECUTIVE_5XX] == size


def test_one_may_be_out_whatever_share_it_is_where_that_is_asked_for() -> None:
    detector, hosts = make(OutlierDetection(consecutive_5xx=1, max_ejection_percent=0, always_one=True), 3)
    for host in hosts:
        detector.answered(host, 500, 0.0)
    assert out(hosts) == [True, False, False]


def test_a_share_of_the_cases_is_enforced() -> None:
    config = OutlierDetection(consecutive_5xx=1, enforcing_consecutive_5xx=30, max_ejection_percent=100)
    detector, hosts = make(config, 1000)
    for host in hosts:
        detector.answered(host, 500, 0.0)
    assert 250 < detector.counts.enforced[CONSECUTIVE_5XX] < 350
    assert detector.counts.detected[CONSECUTIVE_5XX] == 1000


def eject(detector: Detector, host: Host, now: float) -> None:
    assert answers(detector, host, *[500] * 5, now=now)[-1] == CONSECUTIVE_5XX


def test_who_is_out_comes_back_at_the_first_sweep_after_its_time() -> None:
    detector, hosts = make(ALL)
    eject(detector, hosts[0], 100.0)
    assert [detector.sweep(now) for now in (110.0, 120.0, 129.9)] == [[], [], []]
    assert detector.sweep(130.0) == [hosts[0]]
    assert (out(hosts), detector.active) == ([False, False], 0)


def test_each_time_it_stays_out_longer_up_to_the_limit() -> None:
    detector, hosts = make(OutlierDetection(max_ejection_percent=100, max_ejection_s=75.0))
    now, lasted = 0.0, []
    for _ in range(5):
        eject(detector, hosts[0], now)
        lasted.append(detector.ejection_s(hosts[0]))
        now += lasted[-1]
        assert detector.sweep(now) == [hosts[0]]
    assert lasted == [30.0, 60.0, 75.0, 75.0, 75.0]


def test_each_interval_in_service_makes_the_next_time_shorter_until_nothing_is_left_to_do() -> None:
    detector, hosts = make(ALL)
    eject(detector, hosts[0], 0.0)
    detector.sweep(30.0)
    eject(detector, hosts[0], 30.0)
    detector.sweep(90.0)
    assert (hosts[0].backoff, detector.busy) == (2, True)
    detector.sweep(100.0)
    assert (hosts[0].backoff, detector.busy) == (1, True)
    detector.sweep(110.0)
    assert (hosts[0].backoff, detector.busy) == (0, False)
    eject(detector, hosts[0], 200.0)
    assert detector.ejection_s(hosts[0]) == 30.0


def test_jitter_is_added_and_stays_for_the_ejection() -> None:
    detector, hosts = make(OutlierDetection(max_ejection_percent=100, max_jitter_s=10.0))
    eject(detector, hosts[0], 0.0)
    eject(detector, hosts[1], 0.0)
    first, second = (detector.ejection_s(host) for host in hosts)
    assert first != second
    assert all(30.0 <= each < 40.0 for each in (first, second))
    assert detector.sweep(min(first, second)) == [min(hosts, key=detector.ejection_s)]


def test_who_is_gone_is_not_out_and_is_not_ejected_by_what_was_under_way() -> None:
    detector, hosts = make(ALL)
    eject(detector, hosts[0], 0.0)
    detector.remove(hosts[0])
    assert (detector.active, detector.size) == (0, 1)
    detector.remove(hosts[1])
    assert set(answers(detector, hosts[1], *[500] * 5)) == {None}


def test_counters_are_told_once() -> None:
    detector, hosts = make(ALL)
    eject(detector, hosts[0], 0.0)
    grown = ("detected_consecutive_5xx", "enforced_consecutive_5xx", "enforced_total")
    expected = {f"envoy_cluster_outlier_detection_ejections_{name}": 1 for name in grown}
    assert detector.counts.growth() == expected
    assert detector.counts.growth() == {}


CONFIGS = st.builds(
    OutlierDetection,
    consecutive_5xx=st.integers(0, 4),
    enforcing_consecutive_5xx=st.sampled_from([0, 50, 100]),
    consecutive_gateway=st.integers(0, 4),
    enforcing_consecutive_gateway=st.sampled_from([0, 50, 100]),
    split=st.booleans(),
    consecutive_local=st.integers(0, 4),
    interval_s=st.sampled_from([1.0, 10.0]),
    base_ejection_s=st.sampled_from([0.5, 30.0]),
    max_jitter_s=st.sampled_from([0.0, 3.0]),
    max_ejection_percent=st.integers(0, 100),
    always_one=st.booleans(),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "failure", "sweep", "leave", "come"]),
        st.integers(0, 4),
        st.sampled_from([200, 404, 500, 502, 503, 504]),
        st.floats(0.0, 40.0),
    ),
    max_size=120,
)


@given(CONFIGS, STEPS, st.integers(0, 5))
def test_whatever_happens_counts_are_true_and_not_too_many_are_out(
    config: OutlierDetection, steps: list[tuple[str, int, int, float]], seed: int
) -> None:
    detector, hosts = make(config, 3, seed)
    now = 0.0
    for what, which, status, passed in steps:
        now += passed
        host = hosts[which % len(hosts)] if hosts else None
        before = detector.active
        if what == "come":
            hosts.append(Host())
            detector.add(hosts[-1])
        elif what == "sweep":
            back = detector.sweep(now)
            assert all(not each.ejected and not each.failing for each in back)
        elif host is not None and what == "leave":
            detector.remove(host)
            hosts.remove(host)
        elif host is not None:
            was_out = host.ejected
            if what == "answer":
                cause = detector.answered(host, status, now)
            else:
                cause = detector.failed(host, status, now, status == 200)
            assert (cause is not None) == (host.ejected and not was_out)
            if cause is not None:
                allowed = 100 * detector.active <= config.max_ejection_percent * len(hosts)
                assert allowed or (config.always_one and before == 0)
                longest = max(config.max_ejection_s, config.base_ejection_s) + config.max_jitter_s
                assert config.base_ejection_s <= detector.ejection_s(host) <= longest
        assert detector.active == sum(each.ejected for each in hosts)
        assert detector.size == len(hosts)
    # Time heals: with nothing but successes and sweeps everybody is back, and nothing is left to do.
    for _ in range(2000):
        now += config.interval_s
        detector.sweep(now)
        if not detector.busy:
            break
    assert not detector.busy
    assert not any(each.ejected for each in hosts)
