import pytest

from dashboards.console import formatting


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.001, "<0.01"), (0.25, "0.25"), (1, "1.00"), (12.34, "12.3"), (99.96, "100"), (999.4, "999"),
     (999.6, "1.00k"), (12_345, "12.3k"), (999_600, "1.00M"), (25e6, "25.0M")],
)  # fmt: skip
def test_a_quantity_has_three_digits_and_never_hides_what_is_there(value: float, shown: str) -> None:
    assert formatting.quantity(value) == shown
    assert formatting.rate(value) == f"{shown} req/s"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.025, "2.5 %"), (0.1, "10 %"), (0.5, "50 %"), (0.995, "99.5 %"),
     (0.9999, ">99.9 %"), (1, "100 %")],
)  # fmt: skip
def test_a_share_shows_neither_rare_errors_as_none_nor_rare_success_as_all_failed(share: float, shown: str) -> None:
    assert formatting.percent(share) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, "–"), (0, "0.00 ms"), (0.42, "0.42 ms"), (12.34, "12.3 ms"), (999.4, "999 ms"), (999.9, "1.00 s"),
     (1250, "1.25 s"), (59_990, "1 min"), (125_000, "2 min 5 s")],
)  # fmt: skip
def test_a_duration_changes_unit_where_digits_would_be_lost(milliseconds: float | None, shown: str) -> None:
    assert formatting.duration(milliseconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (45, "45 s"), (60, "1 min"), (11_400, "3 h 10 min"), (187_200, "2 d 4 h")],
)
def test_a_span_of_time_shows_its_two_largest_units(seconds: float, shown: str) -> None:
    assert formatting.span_of_time(seconds) == shown


@pytest.mark.parametrize(
    ("rate", "errors", "word"),
    [(0, 0, "idle"), (0, 1, "idle"), (5, 0, "healthy"), (5, 0.0005, "healthy"), (5, 0.001, "degraded"),
     (5, 0.049, "degraded"), (5, 0.05, "failing"), (5, 1, "failing")],
)  # fmt: skip
def test_health_is_a_word_for_the_share_of_failures(rate: float, errors: float, word: str) -> None:
    assert formatting.health(rate, errors) == word


def test_shortened_text_says_that_something_is_missing() -> None:
    assert formatting.shorten("productpage", 11) == "productpage"
    assert formatting.shorten("productpage", 8) == "product…"


def test_counts_agree_with_their_noun() -> None:
    assert [formatting.count(n, "span") for n in (0, 1, 1500)] == ["0 spans", "1 span", "1,500 spans"]
