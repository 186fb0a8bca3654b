"""Asks a Prometheus every expression of the boards, with Grafana's variables filled in: no expression may fail, and
none may find nothing unless it says why that is well."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dashboards.grafana.model import Board, Query

_VARIABLE = re.compile(r"\$(?:\{([a-zA-Z_]\w*)\}|([a-zA-Z_]\w*))")


class BadExpression(Exception):
    """Prometheus does not take it."""


class Prometheus(Protocol):
    """Who answers."""

    def query(self, expr: str) -> list[float]:
        """The values of an instant query. Raises BadExpression."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A query that did not do what it is there for."""

    board: str
    panel: str
    expr: str
    """As it was asked."""
    why: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.why}: {self.expr}"


def fill(expr: str, variables: Mapping[str, str]) -> str:
    """The expression with every variable in place. Raises KeyError for one without a value."""
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], expr)


def usual(board: Board, *, window: str) -> dict[str, str]:
    """What a person sees who opens the board and chooses nothing, but for single choices, which match everything."""
    chosen = {"__rate_interval": window, "__interval": window}
    for variable in board.variables:
        chosen[variable.name] = variable.default or ".*"
    return chosen


def evaluate(prometheus: Prometheus, boards: Iterable[Board], *, window: str) -> list[Finding]:
    """Ask everything. `window` is what Grafana would take for `$__rate_interval`: four scrapes."""
    found: list[Finding] = []
    for board in boards:
        variables = usual(board, window=window)
        for panel, query in board.queries():
            found += _ask(prometheus, board.title, panel.title, query, variables)
        for mark in board.annotations:
            rare = Query(mark.expr, mark.name, may_be_empty="marks what seldom happens")
            found += _ask(prometheus, board.title, mark.name, rare, variables)
    return found


def _ask(
    prometheus: Prometheus, board: str, panel: str, query: Query, variables: Mapping[str, str]
) -> Iterable[Finding]:
    expr = fill(query.expr, variables)
    try:
        values = prometheus.query(expr)
    except BadExpression as error:
        yield Finding(board, panel, expr, f"no valid expression ({error})")
        return
    if not query.may_be_empty and not any(math.isfinite(value) for value in values):
        yield Finding(board, panel, expr, "not a number" if values else "finds nothing")
