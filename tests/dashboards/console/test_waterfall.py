import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.store.answers import SpanEntry
from dashboards.console.waterfall import lay_out, ticks


def span(name: str, parent: str | None, start: float, duration_ms: float, *, id: str | None = None) -> SpanEntry:
    return SpanEntry("t" * 32, id or name, parent, "svc", "w", name, "server", start, duration_ms, False, {})


def test_rows_follow_the_tree_and_bars_the_clock() -> None:
    fall = lay_out(
        [span("c", "b", 100.05, 10), span("root", None, 100.0, 200), span("d", "root", 100.15, 50),
         span("b", "root", 100.02, 100)]
    )  # fmt: skip
    assert [(bar.span.name, bar.depth, bar.children) for bar in fall.bars] == [
        ("root", 0, 2), ("b", 1, 1), ("c", 2, 0), ("d", 1, 0),
    ]  # fmt: skip
    assert fall.duration_ms == pytest.approx(200)
    lefts = [bar.left for bar in fall.bars]
    assert lefts == pytest.approx([0, 0.1, 0.25, 0.75], abs=1e-4)
    assert [bar.width for bar in fall.bars] == pytest.approx([1, 0.5, 0.05, 0.25], abs=1e-4)


def test_a_span_whose_parent_is_not_there_is_a_root_that_says_so() -> None:
    (bar,) = lay_out([span("a", "gone", 1, 5)]).bars
    assert bar.depth == 0
    assert bar.parent_missing


def test_a_child_that_starts_before_its_parent_is_marked() -> None:
    fall = lay_out([span("parent", None, 10.0, 5), span("child", "parent", 9.9, 5)])
    assert [(bar.span.name, bar.before_parent) for bar in fall.bars] == [("parent", False), ("child", True)]


def test_parents_in_a_circle_are_shown_once_each() -> None:
    fall = lay_out([span("a", "b", 1, 5), span("b", "a", 2, 5), span("self", "self", 3, 5)])
    assert sorted(bar.span.name for bar in fall.bars) == ["a", "b", "self"]


def test_two_spans_that_share_an_id_are_both_shown() -> None:
    fall = lay_out([span("client", None, 1, 5, id="x"), span("server", None, 1.001, 3, id="x")])
    assert [bar.span.name for bar in fall.bars] == ["client", "server"]


def test_a_trace_of_no_duration_and_a_trace_of_no_spans() -> None:
    (bar,) = lay_out([span("a", None, 1, 0)]).bars
    assert (bar.left, bar.width) == (0, 1)
    assert lay_out([]).bars == ()


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(-1, 30), st.floats(0, 1e6), st.floats(0, 1e7, allow_subnormal=False)),
        max_size=40,
    )
)
def test_every_span_is_one_row_inside_the_frame(rows: list[tuple[int, int, float, float]]) -> None:
    spans = [
        span(str(index), None if parent < 0 else str(parent), start, length, id=str(own))
        for index, (own, parent, start, length) in enumerate(rows)
    ]
    fall = lay_out(spans)
    assert len(fall.bars) == len(spans)
    for bar in fall.bars:
        assert 0 <= bar.left < 1
        assert bar.width > 0
        assert bar.left + bar.width <= 1 + 1e-9


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [(0, (0,)), (4.2, (0, 1, 2, 3, 4)), (100, (0, 20, 40, 60, 80, 100)), (130, (0, 50, 100)),
     (0.003, (0, 0.001, 0.002, 0.003))],
)  # fmt: skip
def test_ticks_are_round(duration_ms: float, expected: tuple[float, ...]) -> None:
    assert ticks(duration_ms) == pytest.approx(expected)


@given(st.floats(1e-5, 1e9))
def test_there_are_between_two_and_six_ticks(duration_ms: float) -> None:
    assert 2 <= len(ticks(duration_ms)) <= 6
    assert ticks(duration_ms)[-1] <= duration_ms * (1 + 1e-9)
