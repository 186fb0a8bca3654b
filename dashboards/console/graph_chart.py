"""The mesh's graph as an ECharts option. Pure: an answer of the store and a layout in, plain JSON values out.

The drawing's coordinates are pixels: the axes have the canvas's size. Two rules keep hostile names harmless: names are
only ever *values* (the framework evaluates keys that begin with a colon), labels are drawn on the canvas, and tooltips
are elements whose content is set as text.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from collectors.store.answers import Graph, GraphEdge, GraphNode
from dashboards.console import formatting
from dashboards.console.labels import LABEL_HEIGHT, LABEL_WIDTH, place_labels
from dashboards.console.layout import Layout, Measures, lay_out
from dashboards.console.palette import Palette

OUTSIDE = "unknown"
"""The store's id for clients outside the mesh."""

MAX_NODES = 300
"""More would neither be readable nor quick; the busiest are drawn."""

_LOCK = "path://M3 7V5a4 4 0 0 1 8 0v2h1v7H2V7zM5 7h4V5a2 2 0 0 0-4 0z"
_OPEN_LOCK = "path://M3 7V4a4 4 0 0 1 7.5-2l-1.7 1A2 2 0 0 0 5 4v3h7v7H2V7z"
_ARROW = "path://M0 0L10 5L0 10Z"
_FONT = "Roboto, system-ui, sans-serif"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart's option, and what tells whether the next one can be drawn into the same chart."""

    option: dict[str, Any]
    shape: object
    width: int
    height: int


def literal(text: str) -> str:
    """`text` as ECharts shows it unchanged: an open brace begins a template (`{b}`) or a style (`{bold|...}`) there."""
    return text.replace("{", "{\u200b")


def by_service(graph: Graph) -> Graph:
    """The same traffic with the versions of a service as one node.

    Percentiles of several edges cannot be joined: they are left out unless there is just one edge.
    """
    group = {node.id: _service_id(node) for node in graph.nodes}
    nodes: dict[str, list[GraphNode]] = defaultdict(list)
    for node in graph.nodes:
        nodes[group[node.id]].append(node)
    edges: dict[tuple[str, str], list[GraphEdge]] = defaultdict(list)
    for edge in graph.edges:
        pair = (group.get(edge.source, edge.source), group.get(edge.destination, edge.destination))
        edges[pair].append(edge)
    return replace(
        graph,
        nodes=tuple(_joined_node(name, members) for name, members in sorted(nodes.items())),
        edges=tuple(_joined_edge(pair, members) for pair, members in sorted(edges.items())),
    )


def _service_id(node: GraphNode) -> str:
    return node.id if node.id == OUTSIDE else f"{node.namespace}/{_app(node)}"


def _app(node: GraphNode) -> str:
    return node.app if node.app not in ("", "unknown") else node.workload


def _joined_node(name: str, members: list[GraphNode]) -> GraphNode:
    rate = sum(node.requests_per_s for node in members)
    versions = ", ".join(sorted({node.version for node in members if node.version not in ("", "unknown")}))
    first = members[0]
    return GraphNode(name, _app(first), first.namespace, _app(first), versions, rate, _error_rate(members, rate))


def _joined_edge(pair: tuple[str, str], members: list[GraphEdge]) -> GraphEdge:
    if len(members) == 1:
        return replace(members[0], source=pair[0], destination=pair[1])
    rate = sum(edge.requests_per_s for edge in members)
    protocols = {edge.protocol for edge in members}
    return GraphEdge(
        *pair,
        requests_per_s=rate,
        error_rate=_error_rate(members, rate),
        p50_ms=None,
        p99_ms=None,
        mtls=all(edge.mtls for edge in members),
        protocol=protocols.pop() if len(protocols) == 1 else "mixed",
    )


def _error_rate(members: Iterable[GraphNode | GraphEdge], rate: float) -> float:
    return sum(one.requests_per_s * one.error_rate for one in members) / rate if rate > 0 else 0.0


def title(node: GraphNode) -> str:
    """What a node is called."""
    return "outside the mesh" if node.id == OUTSIDE else node.workload


def busiest(graph: Graph, limit: int = MAX_NODES) -> Graph:
    """The graph with at most `limit` nodes, those with the most traffic."""
    if len(graph.nodes) <= limit:
        return graph
    leaving: dict[str, float] = defaultdict(float)
    for edge in graph.edges:
        leaving[edge.source] += edge.requests_per_s
    ranked = sorted(graph.nodes, key=lambda node: (-max(node.requests_per_s, leaving[node.id]), node.id))
    kept = {node.id for node in ranked[:limit]}
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.id in kept),
        edges=tuple(edge for edge in graph.edges if edge.source in kept and edge.destination in kept),
    )


def draw(graph: Graph, palette: Palette, width: float, height: float, selected: str | None = None) -> Drawing:
    """Draw for a canvas of at least this size; larger if the graph needs it."""
    measures = Measures()
    members = {node.id: _service_id(node) for node in graph.nodes}
    layout = lay_out(members, [(edge.source, edge.destination) for edge in graph.edges], width, measures)
    canvas_width, canvas_height = max(width, layout.width), max(height, layout.height)
    shift = ((canvas_width - layout.width) / 2, (canvas_height - layout.height) / 2)
    stroke = _Stroke(graph, layout, palette, measures, shift, selected)
    option = {
        "animation": False,
        "textStyle": {"fontFamily": _FONT},
        "grid": {"left": 0, "top": 0, "right": 0, "bottom": 0},
        "xAxis": {"type": "value", "show": False, "min": 0, "max": canvas_width},
        "yAxis": {"type": "value", "show": False, "min": 0, "max": canvas_height, "inverse": True},
        "tooltip": {
            "confine": True,
            # An element whose content is set as text; ECharts would take a string for HTML.
            ":formatter": "p => remora.tip(p.data)",
            "backgroundColor": palette.surface,
            "borderColor": palette.border,
            "textStyle": {"color": palette.text, "fontSize": 12},
        },
        "series": [stroke.boxes(), stroke.edges(), stroke.nodes()],
    }
    shape = (
        tuple(node.id for node in graph.nodes), tuple(sorted(layout.paths)), canvas_width, canvas_height, palette
    )  # fmt: skip
    return Drawing(option, shape, math.floor(canvas_width), math.floor(canvas_height))


def dot_period_s(requests_per_s: float) -> float:
    """Seconds that a dot takes along its edge: in steps, so that a refresh restarts the animation only if the traffic
    really changed."""
    if requests_per_s <= 0:
        return 8.0
    return max(0.8, 4.0 - 0.5 * round(2 * math.log10(requests_per_s)))


def rounded(width: float, height: float, radius: float) -> str:
    """A symbol: a rectangle with round corners that does not scale them with its size."""
    w, h, r = width, height, min(radius, width / 2, height / 2)
    arc = f"A{r:g} {r:g} 0 0 1"
    return (
        f"path://M{r:g} 0H{w - r:g}{arc} {w:g} {r:g}V{h - r:g}{arc} {w - r:g} {h:g}"
        f"H{r:g}{arc} 0 {h - r:g}V{r:g}{arc} {r:g} 0Z"
    )


class _Stroke:
    """The series of one drawing."""

    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        palette: Palette,
        measures: Measures,
        shift: tuple[float, float],
        selected: str | None,
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.palette = palette
        self.measures = measures
        self.shift = shift
        self.selected = selected
        self.service_of = {_service_id(node): node for node in graph.nodes}
        self.titles = {node.id: title(node) for node in graph.nodes}

    def at(self, x: float, y: float) -> list[float]:
        return [round(x + self.shift[0], 1), round(y + self.shift[1], 1)]

    def boxes(self) -> dict[str, Any]:
        """Frames around services that have several versions."""
        sizes: dict[str, int] = defaultdict(int)
        for node in self.graph.nodes:
            sizes[_service_id(node)] += 1
        data = [
            {
                "id": box.group,
                "value": self.at(box.x + box.width / 2, box.y + box.height / 2),
                "symbol": rounded(box.width, box.height, 12),
                "symbolSize": [box.width, box.height],
                "label": {
                    "show": True,
                    "position": "insideTop",
                    "distance": 6,
                    "color": self.palette.muted,
                    "fontSize": 11,
                    "fontWeight": 500,
                    "formatter": literal(formatting.shorten(_app(self.service_of[box.group]), 20)),
                },
            }
            for box in self.layout.boxes
            if sizes[box.group] > 1
        ]
        return {
            "id": "boxes",
            "type": "scatter",
            "silent": True,
            "z": 1,
            "itemStyle": {"color": self.palette.muted + "14", "borderColor": self.palette.border, "borderWidth": 1},
            "data": data,
        }

    def edges(self) -> dict[str, Any]:
        """The curves, with dots that run along them as fast as the traffic flows."""
        data = []
        for edge in self.drawn_edges():
            colour = self.palette.of(formatting.health(edge.requests_per_s, edge.error_rate))
            strong = self.selected in (edge.source, edge.destination)
            width = min(1.2 + max(0.0, math.log10(1 + edge.requests_per_s)) * 1.1, 5.0) + (1 if strong else 0)
            data.append(
                {
                    "coords": [self.at(x, y) for x, y in self.layout.paths[edge.source, edge.destination]],
                    "kind": "edge",
                    "source": edge.source,
                    "target": edge.destination,
                    "tip": self.edge_tip(edge),
                    "lineStyle": {"color": colour, "width": round(width, 1), "opacity": 0.95 if strong else 0.6},
                    "effect": {
                        "period": dot_period_s(edge.requests_per_s),
                        "color": colour,
                        "symbolSize": 6.5 if edge.requests_per_s > 0 else 0,
                    },
                }
            )
        return {
            "id": "edges",
            "type": "lines",
            "coordinateSystem": "cartesian2d",
            "polyline": True,
            "z": 2,
            "effect": {"show": True, "symbol": "circle", "symbolSize": 6.5, "trailLength": 0, "loop": True},
            "data": data,
        }

    def nodes(self) -> dict[str, Any]:
        """Workloads, arrow heads and labels. On a canvas layer of their own, which the running dots do not redraw."""
        places = place_labels(self.layout)
        data = [self.arrow(edge) for edge in self.drawn_edges()]
        data += [self.card(node) for node in self.graph.nodes]
        for edge in self.drawn_edges():
            data += self.label(edge, *places[edge.source, edge.destination])
        return {
            "id": "nodes",
            "type": "graph",
            "coordinateSystem": "cartesian2d",
            "zlevel": 1,
            "cursor": "pointer",
            "emphasis": {"disabled": True},
            "data": data,
            "links": [],
        }

    def drawn_edges(self) -> list[GraphEdge]:
        return [edge for edge in self.graph.edges if (edge.source, edge.destination) in self.layout.paths]

    def card(self, node: GraphNode) -> dict[str, Any]:
        health = formatting.health(node.requests_per_s, node.error_rate)
        size = [self.measures.node_width, self.measures.node_height]
        chosen = node.id == self.selected
        # Who only calls has nothing that arrives, which is not a fault worth a figure.
        figures = (
            f"{formatting.rate(node.requests_per_s)} · {formatting.percent(node.error_rate)} err"
            if node.requests_per_s > 0
            else "no requests arrive"
        )
        return {
            "id": f"node {node.id}",
            "kind": "node",
            "node": node.id,
            "value": self.at(*self.layout.positions[node.id]),
            "symbol": rounded(size[0], size[1], 9),
            "symbolSize": size,
            "tip": self.node_tip(node),
            "itemStyle": {
                "color": self.palette.surface,
                "borderColor": self.palette.accent if chosen else self.palette.of(health),
                "borderWidth": 2.5 if chosen else 1.5,
                "borderType": "dashed" if node.id == OUTSIDE else "solid",
            },
            "label": {
                "show": True,
                "position": "inside",
                "formatter": f"{{name|{_inside(formatting.shorten(title(node), 18))}}}\n{{figures|{_inside(figures)}}}",
                "rich": {
                    "name": {"color": self.palette.text, "fontSize": 12.5, "fontWeight": 600, "lineHeight": 18},
                    "figures": {
                        "color": self.palette.muted if health in ("idle", "healthy") else self.palette.of(health),
                        "fontSize": 10.5,
                        "lineHeight": 15,
                    },
                },
            },
        }

    def arrow(self, edge: GraphEdge) -> dict[str, Any]:
        path = self.layout.paths[edge.source, edge.destination]
        (x0, _), (x, y) = path[-2], path[-1]
        towards_right = x > x0
        return {
            "id": f"arrow {edge.source} {edge.destination}",
            "value": self.at(x + (-4 if towards_right else 4), y),
            "symbol": _ARROW,
            "symbolSize": [8, 9],
            "symbolRotate": 0 if towards_right else 180,
            "itemStyle": {"color": self.palette.of(formatting.health(edge.requests_per_s, edge.error_rate))},
        }

    def label(self, edge: GraphEdge, x: float, y: float) -> list[dict[str, Any]]:
        """Rate, share of errors, and the lock: closed for mutual TLS, open where anyone could read along."""
        health = formatting.health(edge.requests_per_s, edge.error_rate)
        about = {"kind": "edge", "source": edge.source, "target": edge.destination, "tip": self.edge_tip(edge)}
        size = [LABEL_WIDTH, LABEL_HEIGHT]
        plate = {
            "id": f"label {edge.source} {edge.destination}",
            "value": self.at(x, y),
            "symbol": rounded(LABEL_WIDTH, LABEL_HEIGHT, 7),
            "symbolSize": size,
            "itemStyle": {"color": self.palette.background, "borderColor": self.palette.border, "borderWidth": 1},
            "label": {
                "show": True,
                "position": "inside",
                "offset": [7, 0],
                "formatter": (
                    f"{{rate|{_inside(formatting.rate(edge.requests_per_s))}}}\n"
                    f"{{errors|{_inside(formatting.percent(edge.error_rate))} err}}"
                ),
                "rich": {
                    "rate": {"color": self.palette.text, "fontSize": 10.5, "fontWeight": 500, "lineHeight": 13},
                    "errors": {"color": self.palette.of(health), "fontSize": 10, "lineHeight": 13},
                },
            },
            **about,
        }
        lock = {
            "id": f"lock {edge.source} {edge.destination}",
            "value": self.at(x - LABEL_WIDTH / 2 + 11, y),
            "symbol": _LOCK if edge.mtls else _OPEN_LOCK,
            "symbolSize": [9, 11],
            "itemStyle": {"color": self.palette.healthy if edge.mtls else self.palette.degraded},
            **about,
        }
        return [plate, lock]

    def node_tip(self, node: GraphNode) -> str:
        lines = [title(node)]
        if node.id != OUTSIDE:
            version = f" · version {node.version}" if node.version not in ("", "unknown") else ""
            lines.append(f"namespace {node.namespace}{version}")
        lines.append(f"arriving {formatting.rate(node.requests_per_s)}, {formatting.percent(node.error_rate)} errors")
        return "\n".join(lines)

    def edge_tip(self, edge: GraphEdge) -> str:
        source, target = self.titles.get(edge.source, edge.source), self.titles.get(edge.destination, edge.destination)
        lines = [
            f"{source} → {target}",
            f"{formatting.rate(edge.requests_per_s)}, {formatting.percent(edge.error_rate)} errors",
            f"p50 {formatting.duration(edge.p50_ms)}, p99 {formatting.duration(edge.p99_ms)}",
            f"{edge.protocol}, {'mutual TLS' if edge.mtls else 'not all of it over mutual TLS'}",
        ]
        return "\n".join(lines)


def _inside(text: str) -> str:
    """`text` within `{style|...}`, which a closing brace would end."""
    return literal(text).replace("}", "❵")
