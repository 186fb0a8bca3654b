"""The mesh's graph as an ECharts option. Pure: an answer of the store and a layout in, plain JSON values out.

The drawing's coordinates are pixels: the axes have the canvas's size. Two rules keep hostile names harmless: names are
only ever *values* (the framework evaluates keys that begin with a colon), labels are drawn on the canvas, and tooltips
are elements whose content is set as text.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from collectors.store.answers import Graph, GraphEdge, GraphNode
from dashboards.console import formatting
from dashboards.console.graph_views import OUTSIDE, activity, app_of, service_id, title
from dashboards.console.labels import LABEL_HEIGHT, LABEL_WIDTH, place_labels
from dashboards.console.layout import Layout, Measures, lay_out
from dashboards.console.palette import Palette

MIN_SCALE = 0.4
"""Smaller than this not even shapes can be told apart: the rest is scrolled."""

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
    large: bool
    """In its natural size it is larger than the canvas that it was drawn for."""


def literal(text: str) -> str:
    """`text` as ECharts shows it unchanged: an open brace begins a template (`{b}`) or a style (`{bold|...}`) there."""
    return text.replace("{", "{\u200b")


def draw(
    graph: Graph, palette: Palette, width: float, height: float, selected: str | None = None, *, fit: bool = False
) -> Drawing:
    """Draw for a canvas of at least this size; larger if the graph needs it, unless `fit` makes it smaller to fit."""
    measures = Measures()
    members = {node.id: service_id(node) for node in graph.nodes}
    layout = lay_out(members, [(edge.source, edge.destination) for edge in graph.edges], width, measures)
    fitting = min(1.0, width / layout.width, height / layout.height)
    scale = max(fitting, MIN_SCALE) if fit else 1.0
    canvas_width, canvas_height = max(width, layout.width * scale), max(height, layout.height * scale)
    shift = ((canvas_width - layout.width * scale) / 2, (canvas_height - layout.height * scale) / 2)
    stroke = _Stroke(graph, layout, _View(palette, scale, shift), measures, selected)
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
        tuple(node.id for node in graph.nodes), tuple(sorted(layout.paths)), canvas_width, canvas_height, scale, palette
    )  # fmt: skip
    return Drawing(option, shape, math.floor(canvas_width), math.floor(canvas_height), fitting < 1)


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


@dataclass(frozen=True, slots=True)
class _View:
    """How a drawing is shown."""

    palette: Palette
    scale: float
    shift: tuple[float, float]
    """Of its upper left corner, pixels."""


@dataclass(slots=True)
class Sent:
    """What leaves a node."""

    requests_per_s: float = 0.0
    bytes_per_s: float = 0.0
    error_rate: float = 0.0

    def add(self, edge: GraphEdge) -> None:
        self.requests_per_s += edge.requests_per_s
        self.bytes_per_s += edge.bytes_per_s


class _Stroke:
    """The series of one drawing."""

    def __init__(self, graph: Graph, layout: Layout, view: _View, measures: Measures, selected: str | None) -> None:
        self.graph = graph
        self.layout = layout
        self.palette = view.palette
        self.view = view
        self.measures = measures
        self.selected = selected
        self.service_of = {service_id(node): node for node in graph.nodes}
        self.sends: dict[str, Sent] = defaultdict(Sent)
        for edge in graph.edges:
            self.sends[edge.source].add(edge)
        self.titles = {node.id: title(node) for node in graph.nodes}

    def at(self, x: float, y: float) -> list[float]:
        scale, (left, top) = self.view.scale, self.view.shift
        return [round(x * scale + left, 1), round(y * scale + top, 1)]

    def px(self, *lengths: float) -> list[float]:
        """Lengths and font sizes as drawn."""
        return [round(length * self.view.scale, 1) for length in lengths]

    def text(self, colour: str, size: float, line_height: float, *, weight: int = 400) -> dict[str, Any]:
        """A style of rich text."""
        font, line = self.px(size, line_height)
        return {"color": colour, "fontSize": font, "lineHeight": line, "fontWeight": weight}

    def boxes(self) -> dict[str, Any]:
        """Frames around services that have several versions."""
        sizes: dict[str, int] = defaultdict(int)
        for node in self.graph.nodes:
            sizes[service_id(node)] += 1
        data = [
            {
                "id": box.group,
                "value": self.at(box.x + box.width / 2, box.y + box.height / 2),
                "symbol": rounded(box.width, box.height, 12),
                "symbolSize": self.px(box.width, box.height),
                "label": {
                    "show": True,
                    "position": "insideTop",
                    "distance": self.px(6)[0],
                    "color": self.palette.muted,
                    "fontSize": self.px(11)[0],
                    "fontWeight": 500,
                    "formatter": literal(formatting.shorten(app_of(self.service_of[box.group]), 20)),
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
            colour = self.palette.of(formatting.health_of(edge))
            strong = self.selected in (edge.source, edge.destination)
            width = min(1.2 + max(0.0, math.log10(1 + activity(edge))) * 1.1, 5.0) + (1 if strong else 0)
            data.append(
                {
                    "coords": [self.at(x, y) for x, y in self.layout.paths[edge.source, edge.destination]],
                    "kind": "edge",
                    "source": edge.source,
                    "target": edge.destination,
                    "tip": self.edge_tip(edge),
                    "lineStyle": {"color": colour, "width": self.px(width)[0], "opacity": 0.95 if strong else 0.6},
                    "effect": {
                        "period": dot_period_s(activity(edge)),
                        "color": colour,
                        "symbolSize": self.px(6.5 if activity(edge) > 0 else 0)[0],
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
        health = formatting.health_of(node)
        size = [self.measures.node_width, self.measures.node_height]
        quiet, loud = self.palette.muted, self.palette.of(health)
        chosen = node.id == self.selected
        if formatting.has_bytes_alone(node):
            figures = formatting.flow(node)
        elif node.requests_per_s > 0:
            figures = f"{formatting.flow(node)} · {formatting.errors(node)} err"
        else:
            # Who only calls, such as a gateway: what arrives there no sidecar saw.
            figures = f"sends {formatting.flow(self.sends[node.id])}"
        return {
            "id": f"node {node.id}",
            "kind": "node",
            "node": node.id,
            "value": self.at(*self.layout.positions[node.id]),
            "symbol": rounded(size[0], size[1], 9),
            "symbolSize": self.px(*size),
            "tip": self.node_tip(node),
            "itemStyle": {
                "color": self.palette.surface,
                "borderColor": self.palette.accent if chosen else self.palette.of(health),
                "borderWidth": 2.5 if chosen else 1.5,
                "borderType": "dashed" if node.id == OUTSIDE or node.is_service else "solid",
            },
            "label": {
                "show": True,
                "position": "inside",
                "formatter": f"{{name|{_inside(formatting.shorten(title(node), 18))}}}\n{{figures|{_inside(figures)}}}",
                "rich": {
                    "name": self.text(self.palette.text, 12.5, 18, weight=600),
                    "figures": self.text(quiet if health in ("idle", "healthy") else loud, 10.5, 15),
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
            "symbolSize": self.px(8, 9),
            "symbolRotate": 0 if towards_right else 180,
            "itemStyle": {"color": self.palette.of(formatting.health_of(edge))},
        }

    def label(self, edge: GraphEdge, x: float, y: float) -> list[dict[str, Any]]:
        """Rate, share of errors, and the lock: closed for mutual TLS, open where anyone could read along."""
        health = formatting.health_of(edge)
        about = {"kind": "edge", "source": edge.source, "target": edge.destination, "tip": self.edge_tip(edge)}
        size = [LABEL_WIDTH, LABEL_HEIGHT]
        plate = {
            "id": f"label {edge.source} {edge.destination}",
            "value": self.at(x, y),
            "symbol": rounded(LABEL_WIDTH, LABEL_HEIGHT, 7),
            "symbolSize": self.px(*size),
            "itemStyle": {"color": self.palette.background, "borderColor": self.palette.border, "borderWidth": 1},
            "label": {
                "show": True,
                "position": "inside",
                "offset": self.px(7, 0),
                "formatter": (
                    f"{{rate|{_inside(formatting.flow(edge))}}}\n"
                    + (
                        "{errors|TCP}"
                        if formatting.has_bytes_alone(edge)
                        else f"{{errors|{formatting.errors(edge)} err}}"
                    )
                ),
                "rich": {
                    "rate": {
                        "color": self.palette.text,
                        "fontSize": self.px(10.5)[0],
                        "fontWeight": 500,
                        "lineHeight": self.px(13)[0],
                    },
                    "errors": {
                        "color": self.palette.of(health),
                        "fontSize": self.px(10)[0],
                        "lineHeight": self.px(13)[0],
                    },
                },
            },
            **about,
        }
        lock = {
            "id": f"lock {edge.source} {edge.destination}",
            "value": self.at(x - LABEL_WIDTH / 2 + 11, y),
            "symbol": _LOCK if edge.mtls else _OPEN_LOCK,
            "symbolSize": self.px(9, 11),
            "itemStyle": {"color": self.palette.healthy if edge.mtls else self.palette.degraded},
            **about,
        }
        return [plate, lock]

    def node_tip(self, node: GraphNode) -> str:
        lines = [title(node)]
        if node.id != OUTSIDE:
            version = f" · version {node.version}" if node.version not in ("", "unknown") else ""
            lines.append(f"namespace {node.namespace}{version}")
        if node.is_service:
            lines.append("no workload of the mesh answered: a fault, no healthy endpoint, or a service outside")
        lines.append(f"arriving {_figures(node)}")
        return "\n".join(lines)

    def edge_tip(self, edge: GraphEdge) -> str:
        source, target = self.titles.get(edge.source, edge.source), self.titles.get(edge.destination, edge.destination)
        lines = [
            f"{source} → {target}",
            _figures(edge),
            *([] if formatting.has_bytes_alone(edge) else [_latencies(edge)]),
            f"{edge.protocol}, {'mutual TLS' if edge.mtls else 'not all of it over mutual TLS'}",
        ]
        return "\n".join(lines)


def _figures(of: GraphNode | GraphEdge) -> str:
    told = formatting.flow(of)
    return told if formatting.has_bytes_alone(of) else f"{told}, {formatting.errors(of)} errors"


def _latencies(edge: GraphEdge) -> str:
    return f"p50 {formatting.duration(edge.p50_ms)}, p99 {formatting.duration(edge.p99_ms)}"


def _inside(text: str) -> str:
    """`text` within `{style|...}`, which a closing brace would end."""
    return literal(text).replace("}", "❵")
