"""Expressions, as text: what Prometheus makes of them is the integration test's."""

import pytest

from dashboards.grafana import promql
from dashboards.grafana.boards import BOARDS
from dashboards.grafana.evaluate import BadExpression, Finding, evaluate, fill, usual
from dashboards.grafana.model import Board, Panel, Query, Row, Variable


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (promql.per_second("m"), "sum (rate(m{}[$__rate_interval]))"),
        (promql.per_second("m", 'a="b"', "", by="c, d"), 'sum by (c, d) (rate(m{a="b"}[$__rate_interval]))'),
        (
            promql.quantile("0.5", "m", 'a="b"', by="c"),
            'histogram_quantile(0.5, sum by (le, c) (rate(m_bucket{a="b"}[$__rate_interval])))',
        ),
        (promql.buckets("m"), "sum by (le) (increase(m_bucket{}[$__rate_interval]))"),
        (promql.share("a", "b"), "(a or b * 0) / (b > 0)"),
    ],
)
def test_expressions_read_as_a_person_would_write_them(expr: str, wanted: str) -> None:
    assert expr == wanted


def test_a_request_that_failed_twice_over_counts_once() -> None:
    assert "rate(istio_requests_total{" in promql.failed()
    assert promql.failed().count(" or ") == 1


def test_variables_are_filled_in_either_spelling_and_whole() -> None:
    assert fill(
        "a{b=~'$x',c='${y}'}[$__rate_interval] $xy", {"x": "1", "y": "2", "xy": "3", "__rate_interval": "4m"}
    ) == ("a{b=~'1',c='2'}[4m] 3")


def test_a_variable_without_value_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        fill("$nobody", {})


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_variable_of_every_expression_has_a_value(board: Board) -> None:
    chosen = usual(board, window="1m")
    for _, query in board.queries():
        assert "$" not in fill(query.expr, chosen)


class _Answers:
    def __init__(self, answers: dict[str, list[float]]) -> None:
        self._answers = answers

    def query(self, expr: str) -> list[float]:
        if expr not in self._answers:
            raise BadExpression("1:1: parse error")
        return self._answers[expr]


def _board(*queries: Query) -> Board:
    panel = Panel("A panel", "It shows.", "s", queries)
    return Board(
        "u", "A board", "For a test.", (Variable("v", "V", "v", values=("1",), default="1"),), (Row("r", (panel,)),)
    )


def test_evaluating_finds_what_fails_and_what_is_empty_without_a_reason() -> None:
    board = _board(
        Query("full{$v}", "l"),
        Query("empty", "l"),
        Query("seldom", "l", may_be_empty="it seldom happens"),
        Query("nan", "l"),
        Query("wrong(", "l"),
    )
    answers = _Answers({"full{1}": [1.0], "empty": [], "seldom": [], "nan": [float("nan")]})
    assert evaluate(answers, [board], window="1m") == [
        Finding("A board", "A panel", "empty", "finds nothing"),
        Finding("A board", "A panel", "nan", "not a number"),
        Finding("A board", "A panel", "wrong(", "no valid expression (1:1: parse error)"),
    ]
    assert str(evaluate(answers, [board], window="1m")[0]) == "A board: A panel: finds nothing: empty"
