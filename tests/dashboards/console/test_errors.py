"""The errors page's own arithmetic."""

import pytest

from collectors.store.answers import ErrorGroup
from dashboards.console.pages.errors import BARS, bars, rows

MINUTE = 60.0


@pytest.mark.parametrize(
    ("curve", "since", "until", "wanted"),
    [
        ([], 0, 300, [0] * 6),
        ([(0, 1), (240, 2)], 0, 300, [1, 0, 0, 0, 2, 0]),
        ([(60, 1)], 90, 210, [1, 0, 0]),
        ([(-60, 9), (9_000, 9)], 0, 60, [0, 0]),
    ],
    ids=["nothing", "by minute", "the minute that the window begins in", "outside"],
)
def test_a_bar_is_of_whole_minutes(
    curve: list[tuple[float, int]], since: float, until: float, wanted: list[int]
) -> None:
    assert bars(curve, since, until) == wanted


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_however_long_the_window_there_are_few_bars_and_nothing_is_lost(hours: int) -> None:
    curve = [(minute * MINUTE, 1) for minute in range(hours * 60)]
    found = bars(curve, 0, hours * 3600)
    assert len(found) <= BARS + 1
    assert sum(found) == hours * 60


def test_a_row_has_plain_values_and_no_trace_that_is_none() -> None:
    group = ErrorGroup("f" * 16, "message", "shop", "shop-v1", "<b>", "w", 1.0, 2.0, 3, "v1", "v2", "no trace", "s", 2)
    (row,) = rows([group])
    assert row["trace"] == ""
    assert row["title"] == "<b>"
    assert not any(key.startswith(":") for key in row)
