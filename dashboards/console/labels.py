"""Where the labels of the graph's edges sit: on their edge where there is room, never upon one another. Pure."""

from collections.abc import Sequence

from dashboards.console.curves import Path, Point, point_at_x
from dashboards.console.layout import Layout
from dashboards.console.ordering import spread

LABEL_WIDTH = 82.0
LABEL_HEIGHT = 32.0
GAP = 4.0
"""Between labels above one another."""

_REACH = 60.0
"""From an edge's end to its label's middle."""


def place_labels(layout: Layout) -> dict[tuple[str, str], Point]:
    """The middle of each edge's label.

    A label sits where its edge passes a layer, if it does; else near the end of its edge that has fewer neighbours,
    where edges lie further apart.
    """
    wishes = {
        edge: layout.lane_of.get(edge) or _wish(path, near_target=edge in layout.near_target)
        for edge, path in layout.paths.items()
    }
    placed: dict[tuple[str, str], Point] = {}
    for column in _columns(wishes):
        column.sort(key=lambda edge: (wishes[edge][1], edge))
        heights = spread([wishes[edge][1] for edge in column], [LABEL_HEIGHT + GAP] * (len(column) - 1))
        # What was pushed above the drawing pushes the others down.
        lift = max(0.0, LABEL_HEIGHT / 2 + 2 - heights[0])
        placed |= {
            edge: (round(wishes[edge][0], 1), round(y + lift, 1)) for edge, y in zip(column, heights, strict=True)
        }
    return placed


def _wish(path: Path, *, near_target: bool) -> Point:
    start, end = path[0][0], path[-1][0]
    direction = 1.0 if end >= start else -1.0
    if start == end:
        # A loop: at its outermost point.
        return max(path)
    return point_at_x(path, end - direction * _REACH if near_target else start + direction * _REACH)


def _columns(wishes: dict[tuple[str, str], Point]) -> Sequence[list[tuple[str, str]]]:
    """Edges whose labels could meet: a column ends where no label reaches across."""
    columns: list[list[tuple[str, str]]] = []
    right = float("-inf")
    for edge in sorted(wishes, key=lambda edge: (wishes[edge][0], edge)):
        x = wishes[edge][0]
        if not columns or x - right > LABEL_WIDTH:
            columns.append([])
        columns[-1].append(edge)
        right = x
    return columns
