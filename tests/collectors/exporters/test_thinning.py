"""What the embedded store gets of a series."""

from collectors.exporters.thinning import REPEAT_S, Thinning
from collectors.records import Sample

SERIES = (("path", "/"),)


def sample(at: float, value: float | None) -> Sample:
    return Sample("istio_requests_total", SERIES, at, value)


def kept(thinning: Thinning, at: float, value: float | None) -> list[tuple[float, float | None]]:
    return [(each.time, each.value) for each in thinning.thin([sample(at, value)])]


def test_only_changes_are_stored_with_both_ends_of_every_stretch() -> None:
    thinning = Thinning()
    assert kept(thinning, 0, 0) == [(0, 0)]
    assert kept(thinning, 2, 0) == []
    assert kept(thinning, 4, 1) == [(2, 0), (4, 1)]
    assert kept(thinning, 6, 2) == [(6, 2)], "the reading before it is stored already"
    assert [kept(thinning, at, 2) for at in (8, 10)] == [[], []]
    assert kept(thinning, 6 + REPEAT_S, 2) == [(6 + REPEAT_S, 2)], "repeated once a minute"


def test_a_series_ends_once_and_may_come_back() -> None:
    thinning = Thinning()
    kept(thinning, 0, 5)
    assert kept(thinning, 2, None) == [(2, None)]
    assert kept(thinning, 4, None) == []
    assert kept(thinning, 6, 5) == [(6, 5)]


def test_what_could_not_be_stored_is_stored_with_the_next_reading() -> None:
    thinning = Thinning()
    thinning.forget(thinning.thin([sample(0, 5)]))
    assert kept(thinning, 2, 5) == [(2, 5)]


def test_the_most_silent_series_is_forgotten_where_there_are_too_many() -> None:
    thinning = Thinning(max_series=2)
    series = [Sample("x", (("n", str(number)),), 0, 1) for number in range(3)]
    assert thinning.thin(series) == series
    assert thinning.thin(series[1:]) == [], "remembered"
    assert thinning.thin(series[:1]) == series[:1], "forgotten, so stored again"
