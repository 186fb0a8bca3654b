"""Edges as sampled curves: what the graph page draws, and where along it a label sits. Pure; pixels, y downwards."""

from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]
Path = tuple[Point, ...]

SAMPLES = 14
"""Points per bend; more is not visible."""


def smooth_path(points: Sequence[Point], *, bend: float = 0.5) -> Path:
    """A curve through `points` that leaves and meets every one of them horizontally.

    `bend` from 0 to 1 says where on the way from one point to the next it turns.
    """
    path: list[Point] = [points[0]]
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 == y1:
            path.append((x1, y1))
            continue
        middle = x0 + (x1 - x0) * bend
        path += _cubic((x0, y0), (middle, y0), (middle, y1), (x1, y1))
    return tuple((round(x, 1), round(y, 1)) for x, y in path)


def loop_path(start: Point, end: Point, *, reach: float) -> Path:
    """A loop on the right of two points above one another, or of one point that calls itself."""
    (x0, y0), (x1, y1) = start, end
    if start == end:
        y0, y1 = y0 - 10, y1 + 10
    bend = _cubic((x0, y0), (x0 + reach, y0), (x1 + reach, y1), (x1, y1))
    return tuple((round(x, 1), round(y, 1)) for x, y in [(x0, y0), *bend])


def _cubic(p0: Point, p1: Point, p2: Point, p3: Point) -> list[Point]:
    """A Bézier curve's samples without its first point."""
    points = []
    for index in range(1, SAMPLES + 1):
        t = index / SAMPLES
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        points.append((a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0], a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1]))
    return points


def point_at_x(path: Path, x: float) -> Point:
    """The first point of `path` at the horizontal position `x`; its nearest end where the path does not reach it."""
    for (x0, y0), (x1, y1) in pairwise(path):
        if min(x0, x1) <= x <= max(x0, x1) and x0 != x1:
            return (x, y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return min((path[0], path[-1]), key=lambda point: abs(point[0] - x))
