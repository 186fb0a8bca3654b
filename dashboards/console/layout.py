"""Where the mesh's workloads stand on the graph page: callers left, called right, versions of one service together.

A layered drawing after Sugiyama on *services*, whose versions are stacked in one box; edges that skip a layer are led
through a gap kept for them. Pure and deterministic: the same workloads and edges always stand in the same places, so
that a refresh moves nothing. All lengths are pixels, y downwards.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dashboards.console.curves import Path, Point, loop_path, smooth_path
from dashboards.console.ordering import acyclic, longest_path_layers, order_layers, spread

_EARLY = 0.2
"""Where on its way an edge turns: the rest of it lies level, and has room for its label."""

RELAXATIONS = 24
"""Passes that pull services level with whom they talk to."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Sizes that the drawing keeps to."""

    node_width: float = 130
    node_height: float = 46
    row_gap: float = 12
    """Between versions of one service."""
    box_padding: float = 8
    """Between a service's box and its versions."""
    box_title: float = 16
    """Height of the service's name on top of its box."""
    box_gap: float = 26
    """Between boxes above one another."""
    lane: float = 38
    """Height kept free for each edge that passes a layer: room for its label."""
    min_layer_gap: float = 112
    """Between layers: room for an edge's label."""
    max_layer_gap: float = 230
    margin: float = 18


@dataclass(frozen=True, slots=True)
class Box:
    """The frame around one service's versions; x and y are the upper left corner."""

    group: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing. `positions` are the centres of the nodes, `paths` run from border to border of them."""

    positions: dict[str, Point]
    boxes: tuple[Box, ...]
    paths: dict[tuple[str, str], Path]
    lane_of: dict[tuple[str, str], Point]
    """The middle of the way through a layer, for the edges that pass one."""
    near_target: frozenset[tuple[str, str]]
    """Edges that turn soon after their source and lie apart near their target; the others the other way round."""
    width: float
    height: float


def lay_out(
    members: dict[str, str], edges: Iterable[tuple[str, str]], width: float, measures: Measures | None = None
) -> Layout:
    """Place the nodes of `members` (node -> its service) for a canvas about `width` wide.

    The drawing grows beyond `width` where it must. Edges to nodes that are not in `members` are left out.
    """
    return _Drawing(members, edges, width, measures or Measures()).finish()


class _Drawing:
    """The steps of one layout, in the order in which `finish` calls them."""

    def __init__(
        self, members: dict[str, str], edges: Iterable[tuple[str, str]], width: float, measures: Measures
    ) -> None:
        self.m = measures
        self.members = members
        self.width = width
        self.edges = sorted({(a, b) for a, b in edges if a in members and b in members})
        self.groups: dict[str, list[str]] = {}
        for node in sorted(members):
            self.groups.setdefault(members[node], []).append(node)
        leaving, arriving = Counter(a for a, _ in self.edges), Counter(b for _, b in self.edges)
        self.near_target = frozenset(edge for edge in self.edges if leaving[edge[0]] >= arriving[edge[1]])
        self.group_edges = sorted(
            {(members[a], members[b]) for a, b in self.edges if members[a] != members[b]},
        )
        touched = {group for edge in self.group_edges for group in edge}
        self.connected = sorted(group for group in self.groups if group in touched)
        self.isolated = sorted(group for group in self.groups if group not in touched)
        self.centre: dict[str, float] = {}
        """y of a group's or a lane's middle."""
        self.lanes: dict[tuple[str, str], list[str]] = {}
        """The lanes through which a (forward) edge between two groups passes."""
        self.lane_owner: dict[str, tuple[str, str]] = {}
        self.sharing: dict[tuple[str, str], list[tuple[str, str]]] = {}
        """The edges between two groups, in either direction: they share the lanes, one above the other."""
        for edge in self.edges:
            pair = members[edge[0]], members[edge[1]]
            for key in (pair, pair[::-1]):
                self.sharing.setdefault(key, []).append(edge)

    def finish(self) -> Layout:
        ordered = self._order()
        columns = max(len(ordered), 1)
        layer_gap = self._layer_gap(columns)
        step = self.m.node_width + 2 * self.m.box_padding + layer_gap
        self._relax(ordered)
        left = {name: depth * step for depth, layer in enumerate(ordered) for name in layer}
        depth_of_flow = self._settle(ordered)
        left |= self._place_isolated(depth_of_flow, columns, step)
        boxes = tuple(
            Box(
                group,
                left[group] + self.m.margin,
                self.centre[group] - self._height(group) / 2,
                self.m.node_width + 2 * self.m.box_padding,
                self._height(group),
            )
            for group in [*self.connected, *self.isolated]
        )
        positions = {node: point for box in boxes for node, point in self._stack(box)}
        self.lane_of: dict[tuple[str, str], Point] = {}
        paths = {edge: self._path(edge, positions, left) for edge in self.edges}
        right = max((box.x + box.width for box in boxes), default=0.0)
        bottom = max((box.y + box.height for box in boxes), default=0.0)
        lowest = max((y for path in paths.values() for _, y in path), default=0.0)
        bottom = max(bottom, lowest)
        return Layout(
            positions, boxes, paths, self.lane_of, self.near_target, right + self.m.margin, bottom + self.m.margin
        )

    def _order(self) -> list[list[str]]:
        """Layers from left to right, each from top to bottom, lanes among the groups."""
        successors: dict[str, list[str]] = {}
        for source, target in self.group_edges:
            successors.setdefault(source, []).append(target)
        back = acyclic(self.connected, successors)
        forward = sorted({(b, a) if (a, b) in back else (a, b) for a, b in self.group_edges})
        depth = longest_path_layers(self.connected, forward)
        layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
        for group in self.connected:
            layers[depth[group]].append(group)
        self.links: list[tuple[str, str]] = []
        for source, target in forward:
            chain = [source]
            for layer in range(depth[source] + 1, depth[target]):
                lane = f"\0{source}\0{target}\0{layer}"  # no name of a service holds NUL
                layers[layer].append(lane)
                chain.append(lane)
                self.lane_owner[lane] = (source, target)
            chain.append(target)
            self.links += pairwise(chain)
            self.lanes[source, target] = chain[1:-1]
        return order_layers(layers, self.links)

    def _layer_gap(self, columns: int) -> float:
        boxes = columns * (self.m.node_width + 2 * self.m.box_padding) + 2 * self.m.margin
        wanted = (self.width - boxes) / max(columns - 1, 1)
        return min(max(wanted, self.m.min_layer_gap), self.m.max_layer_gap)

    def _height(self, name: str) -> float:
        if name not in self.groups:
            return self.m.lane * len(self.sharing[self.lane_owner[name]])
        count = len(self.groups[name])
        nodes = count * self.m.node_height + (count - 1) * self.m.row_gap
        return nodes + 2 * self.m.box_padding + (self.m.box_title if count > 1 else 0)

    def _relax(self, ordered: Sequence[Sequence[str]]) -> None:
        neighbours: dict[str, list[str]] = {}
        for source, target in self.links:
            neighbours.setdefault(source, []).append(target)
            neighbours.setdefault(target, []).append(source)
        gaps = [
            [(self._height(a) + self._height(b)) / 2 + self.m.box_gap for a, b in pairwise(layer)] for layer in ordered
        ]
        for layer, between in zip(ordered, gaps, strict=True):
            self.centre |= zip(layer, spread([0.0] * len(layer), between), strict=True)
        for sweep in range(RELAXATIONS):
            order = range(len(ordered)) if sweep % 2 == 0 else range(len(ordered) - 1, -1, -1)
            for index in order:
                layer = ordered[index]
                wishes = [sum(self.centre[n] for n in neighbours[name]) / len(neighbours[name]) for name in layer]
                self.centre |= zip(layer, spread(wishes, gaps[index]), strict=True)

    def _settle(self, ordered: Sequence[Sequence[str]]) -> float:
        """Move everything below the upper margin; returns the lower border."""
        tops = [self.centre[name] - self._height(name) / 2 for layer in ordered for name in layer]
        shift = self.m.margin - min(tops, default=0.0)
        for name in self.centre:
            self.centre[name] = round(self.centre[name] + shift, 1)
        return max((self.centre[name] + self._height(name) / 2 for layer in ordered for name in layer), default=0.0)

    def _place_isolated(self, top: float, columns: int, step: float) -> dict[str, float]:
        """Who talks to nobody stands below, in rows; returns their x."""
        per_row = max(columns, int((self.width - 2 * self.m.margin) // step), 1)
        left: dict[str, float] = {}
        y = top + (self.m.box_gap if top else self.m.margin)
        for start in range(0, len(self.isolated), per_row):
            row = self.isolated[start : start + per_row]
            for column, group in enumerate(row):
                left[group] = column * step
                self.centre[group] = y + self._height(group) / 2
            y += max(self._height(group) for group in row) + self.m.box_gap
        return left

    def _stack(self, box: Box) -> list[tuple[str, Point]]:
        nodes = self.groups[box.group]
        top = box.y + self.m.box_padding + (self.m.box_title if len(nodes) > 1 else 0) + self.m.node_height / 2
        x = box.x + box.width / 2
        return [(node, (x, top + row * (self.m.node_height + self.m.row_gap))) for row, node in enumerate(nodes)]

    def _path(self, edge: tuple[str, str], positions: dict[str, Point], left: dict[str, float]) -> Path:
        source, target = edge
        (ax, ay), (bx, by) = positions[source], positions[target]
        half = self.m.node_width / 2
        if self.members[source] == self.members[target]:
            # Calls within a service, or to oneself, loop on the right of its box.
            return loop_path((ax + half, ay), (bx + half, by), reach=self.m.box_padding + 34)
        # Where both call each other, the two directions run beside one another.
        shift = 7.0 if (target, source) in self.edges else 0.0
        groups = self.members[source], self.members[target]
        if groups in self.lanes:
            lanes, direction = self.lanes[groups], 1.0
            ay, by = ay - shift, by - shift
        else:
            lanes, direction = list(reversed(self.lanes[groups[1], groups[0]])), -1.0
            ay, by = ay + shift, by + shift
        inner = self.m.node_width + 2 * self.m.box_padding
        points: list[Point] = [(ax + direction * half, ay)]
        sharing = self.sharing[groups]
        offset = (sharing.index(edge) - (len(sharing) - 1) / 2) * self.m.lane
        for lane in lanes:
            near, y = left[lane] + self.m.margin, self.centre[lane] + offset
            ends = (near, near + inner) if direction > 0 else (near + inner, near)
            points += [(x, y) for x in ends]
        if lanes:
            middle = lanes[len(lanes) // 2]
            self.lane_of[edge] = (left[middle] + self.m.margin + inner / 2, self.centre[middle] + offset)
        points.append((bx - direction * half, by))
        return smooth_path(points, bend=_EARLY if edge in self.near_target else 1 - _EARLY)
