"""Who may lead, by the record and a clock of one's own: tables, and a world of candidates with skewed clocks."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.kubernetes.lease import (
    LeaseRecord,
    LeaseTerms,
    Move,
    Seen,
    first,
    held,
    left_s,
    micro_time,
    move,
    released,
    see,
)

TERMS = LeaseTerms()


def record(holder: str = "a", **changes: object) -> LeaseRecord:
    values = {"lease_s": 15, "acquired": "t0", "renewed": "t0", "transitions": 0, "version": "1"} | changes
    return LeaseRecord(holder, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("holder", "seen_for_s", "expected"),
    [
        ("me", 0, Move.RENEW),
        ("me", 1000, Move.RENEW),
        ("", 0, Move.TAKE),
        ("other", 0, Move.WAIT),
        ("other", 14.9, Move.WAIT),
        ("other", 15, Move.TAKE),
    ],
)
def test_a_lease_is_taken_when_it_was_seen_unchanged_for_its_duration(
    holder: str, seen_for_s: float, expected: Move
) -> None:
    assert move("me", Seen(record(holder), 100.0), 100.0 + seen_for_s) is expected


@pytest.mark.parametrize(("holder", "expected"), [("me", 0.0), ("", 0.0), ("other", 10.0)])
def test_what_is_left_is_of_another_s_lease_and_ends_at_nothing(holder: str, expected: float) -> None:
    assert left_s("me", Seen(record(holder), 100.0), 105.0) == expected
    assert left_s("me", Seen(record(holder), 100.0), 116.0) == 0.0


def test_it_is_the_records_own_duration_that_counts() -> None:
    assert move("me", Seen(record("other", lease_s=60), 0.0), 59.0) is Move.WAIT


def test_a_renewal_begins_the_wait_anew_and_an_annotation_does_not() -> None:
    seen = Seen(record("other"), 100.0)
    assert see(seen, record("other", renewed="t1", version="2"), 110.0).at == 110.0
    again = see(seen, record("other", version="3"), 110.0)
    assert (again.at, again.record.version) == (100.0, "3")


def test_taking_over_counts_a_transition_and_renewing_does_not() -> None:
    assert held("b", TERMS, record("a", transitions=4), 0.0).transitions == 5
    renewed = held("a", TERMS, record("a", transitions=4), 60.0)
    assert (renewed.transitions, renewed.acquired, renewed.renewed) == (4, "t0", "1970-01-01T00:01:00.000000Z")
    assert first("a", TERMS, 0.0).transitions == 0


def test_a_released_lease_is_anybodys() -> None:
    assert move("b", Seen(released(record("a"), 0.0), 0.0), 0.0) is Move.TAKE


def test_a_record_survives_the_api() -> None:
    lease = {"metadata": {"resourceVersion": "7"}, "spec": record("a", version="7").spec()}
    assert LeaseRecord.of(lease) == record("a", version="7")
    assert LeaseRecord.of({"metadata": {}}).holder == ""


def test_times_are_kubernetes_micro_times() -> None:
    assert micro_time(1_800_000_000.123456) == "2027-01-15T08:00:00.123456Z"


@pytest.mark.parametrize(
    ("lease_s", "renew_s", "retry_s"),
    [(0, 1.0, 0.1), (10, 10.0, 2.0), (10, 12.0, 2.0), (15, 2.4, 2.0), (15, 10.0, 0.0)],
)
def test_terms_under_which_two_could_lead_are_refused(lease_s: int, renew_s: float, retry_s: float) -> None:
    with pytest.raises(ValueError):
        LeaseTerms(lease_s, renew_s, retry_s)


@dataclass
class Candidate:
    """As Leadership, without waiting: `offset` is what its clock shows more than others', `rate` how fast it goes."""

    name: str
    offset: float
    rate: float
    seen: Seen | None = None
    until: float = float("-inf")

    def clock(self, now: float) -> float:
        return now * self.rate + self.offset

    def leads(self, now: float) -> bool:
        return self.clock(now) < self.until

    def attempt(self, stored: LeaseRecord, now: float, *, reads: bool = True) -> LeaseRecord:
        mine = self.clock(now)
        if not reads:
            return stored
        self.seen = see(self.seen, stored, mine)
        if move(self.name, self.seen, mine) is Move.WAIT:
            return stored
        made = held(self.name, TERMS, stored, mine)
        made = LeaseRecord(made.holder, made.lease_s, made.acquired, made.renewed, made.transitions, f"{now}")
        self.seen = Seen(made, mine)
        self.until = mine + TERMS.renew_deadline_s
        return made

    def hear(self, stored: LeaseRecord, now: float) -> None:
        """A watch tells what stood there once."""
        if self.seen is not None and not self.leads(now):
            self.seen = see(self.seen, stored, self.clock(now))


@given(
    offsets=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    rates=st.lists(st.floats(0.9, 1.1), min_size=3, max_size=3),
    steps=st.lists(
        st.tuples(
            st.integers(0, 2), st.floats(0.01, 6.0), st.sampled_from(["asks", "fails", "hears"]), st.integers(1, 4)
        ),
        max_size=120,
    ),
)
def test_there_are_never_two_leaders_however_clocks_are_set_calls_fail_and_watches_lag(
    offsets: list[float], rates: list[float], steps: list[tuple[int, float, str, int]]
) -> None:
    candidates = [Candidate(name, offset, rate) for name, offset, rate in zip("abc", offsets, rates, strict=True)]
    told = [record("", version="0")]
    now = 0.0
    for which, passes_s, what, lag in steps:
        now += passes_s
        if what == "hears":
            candidates[which].hear(told[-min(lag, len(told))], now)
        else:
            told.append(candidates[which].attempt(told[-1], now, reads=what == "asks"))
        assert sum(each.leads(now) for each in candidates) <= 1
