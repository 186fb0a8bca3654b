"""The graph page: who talks to whom right now."""

from collections.abc import Callable

from nicegui import events, ui

from collectors.store.answers import Graph, GraphEdge, GraphNode
from dashboards.console import formatting, graph_chart, graph_views, links
from dashboards.console.console import Console
from dashboards.console.parts import Choice, Line, Lines, Stats, empty_state, icon_button
from dashboards.console.shell import Frame, frame

VIEWS = {"versions": "Versions", "services": "Services"}
DEFAULT_WINDOW = "1m"

_CHROME_HEIGHT = 52 + 36 + 14 + 2 * 16 + 4
"""Header, toolbar and margins above and below the canvas."""
_CHROME_WIDTH = 2 * 20 + 4
_PANEL_HEIGHT = 204 + 14


def register(console: Console) -> None:
    """Serve `/`."""

    @ui.page("/")
    async def page(window: str = "", view: str = "", node: str = "") -> None:
        with frame(console, "Graph") as around:
            graph = GraphPage(around, links.window(window, DEFAULT_WINDOW), view if view in VIEWS else "versions", node)
        await around.measure()
        await around.live(graph.refresh)


class GraphPage:
    """One tab's graph."""

    def __init__(self, around: Frame, window: str, view: str, node: str) -> None:
        self._frame = around
        self._window = window
        self._view = view
        self._selected = node or None
        self._fit = True
        self._graph: Graph | None = None
        self._shape: object = None
        self._chart: ui.echart | None = None
        self._sent: object = None
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Graph</h1>", sanitize=False)
            Choice("Window", {name: links.WINDOW_NAMES[name] for name in links.WINDOWS_S}, window, self._set_window)
            Choice("Nodes", VIEWS, view, self._set_view)
            self._size = ui.element("div")
            with self._size:
                Choice("Size", {"fit": "Fit", "full": "100 %"}, "fit", self._set_size)
            self._size.set_visibility(False)
            ui.element("div").classes("grow")
            _legend()
        with ui.element("div").classes("split").style("flex-direction: column"):
            self._canvas = ui.element("div").classes("card canvas")
            with self._canvas:
                self._empty = empty_state(
                    "hub",
                    "No traffic in this window",
                    "Send a request through the mesh, or choose a longer window. Workloads appear as soon as someone "
                    "talks to them.",
                )
            self._panel = ui.element("aside").classes("card panel below")
            with self._panel:
                self._details = Details(self._close)
        self._panel.set_visibility(False)
        around.on_theme(self._draw)
        around.on_size(self._draw)

    async def refresh(self) -> None:
        """Ask the store and draw what changed."""
        window_s = links.WINDOWS_S[self._window]
        now = self._frame.console.clock.now()
        self._graph = await self._frame.console.telemetry.share(
            ("graph", window_s), lambda reader: reader.graph(now, window_s)
        )
        self._draw()

    def _shown(self) -> Graph | None:
        if self._graph is None:
            return None
        graph = graph_views.by_service(self._graph) if self._view == "services" else self._graph
        return graph_views.busiest(graph)

    def _draw(self) -> None:
        graph = self._shown()
        if graph is None:
            return
        self._empty.set_visibility(not graph.nodes)
        self._show_details(graph)
        if not graph.nodes:
            if self._chart is not None:
                self._chart.delete()
                self._chart, self._shape = None, None
            return
        width = self._frame.width - _CHROME_WIDTH
        height = self._frame.height - _CHROME_HEIGHT - (_PANEL_HEIGHT if self._panel.visible else 0)
        drawing = graph_chart.draw(graph, self._frame.palette, width, height, self._selected, fit=self._fit)
        self._size.set_visibility(drawing.large)
        if self._chart is None or drawing.shape != self._shape:
            # Another shape: a new chart, since merging would keep what is gone.
            if self._chart is not None:
                self._chart.delete()
            with self._canvas:
                self._chart = ui.echart(drawing.option)
                self._chart.on("componentClick", self._clicked, ["data"])
                self._chart.style(f"width: {drawing.width}px; height: {drawing.height}px")
            self._shape = drawing.shape
        elif drawing.option["series"] != self._sent:
            self._chart.run_chart_method("setOption", {"series": drawing.option["series"]})
        self._sent = drawing.option["series"]

    def _clicked(self, event: events.GenericEventArguments) -> None:
        data = event.args.get("data") if isinstance(event.args, dict) else None
        if not isinstance(data, dict):
            return
        if data.get("kind") == "node" and isinstance(data.get("node"), str):
            self._select(data["node"])
        elif data.get("kind") == "edge" and isinstance(data.get("target"), str):
            self._select(data["target"])

    def _select(self, node: str | None) -> None:
        self._selected = node
        self._draw()

    def _close(self) -> None:
        self._select(None)

    def _show_details(self, graph: Graph) -> None:
        node = next((node for node in graph.nodes if node.id == self._selected), None)
        self._panel.set_visibility(node is not None)
        if node is not None:
            self._details.show(node, graph)

    async def _set_window(self, window: str) -> None:
        self._window = links.window(window, DEFAULT_WINDOW)
        await self._frame.once(self.refresh)

    def _set_size(self, size: str) -> None:
        self._fit = size == "fit"
        self._draw()

    def _set_view(self, view: str) -> None:
        self._view = view if view in VIEWS else "versions"
        self._selected = None
        self._draw()


class Details:
    """The panel about one node."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        with ui.element("div").classes("section"):
            with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
                with ui.element("div").classes("grow"):
                    self._title = ui.label().classes("title").props('role="heading" aria-level="2"')
                    self._about = ui.label().classes("muted")
                icon_button("close", "Close", on_close)
            self._stats = Stats(("Arriving", "Errors", "State"))
            with ui.element("div").classes("row-line") as self._links:
                self._traces = ui.link("Traces", "/traces")
                self._logs = ui.link("Logs", "/logs")
        with ui.element("div").classes("section"):
            ui.html('<h3 class="small">Called by · rate, errors, p50, p99</h3>', sanitize=False)
            self._incoming = Lines()
            self._nobody = ui.label("Nobody in this window.").classes("muted")
        with ui.element("div").classes("section"):
            ui.html('<h3 class="small">Calls · rate, errors, p50, p99</h3>', sanitize=False)
            self._outgoing = Lines()
            self._nothing = ui.label("Nothing in this window.").classes("muted")

    def show(self, node: GraphNode, graph: Graph) -> None:
        """Fill in, in place."""
        health = formatting.health_of(node)
        self._title.set_text(graph_views.title(node))
        outside = node.id == graph_views.OUTSIDE
        version = f" · {node.version}" if node.version not in ("", "unknown") else ""
        self._about.set_text("Clients without a sidecar" if outside else f"{node.namespace}{version}")
        self._stats.set(
            formatting.flow(node),
            (formatting.errors(node), f"health-{health}"),
            (health, f"health-{health}"),
        )
        titles = {other.id: graph_views.title(other) for other in graph.nodes}
        incoming = [edge for edge in graph.edges if edge.destination == node.id]
        outgoing = [edge for edge in graph.edges if edge.source == node.id]
        self._nobody.set_visibility(not incoming)
        self._nothing.set_visibility(not outgoing)
        self._incoming.set([_line(edge, titles.get(edge.source, edge.source), edge.source) for edge in incoming])
        self._outgoing.set(
            [_line(edge, titles.get(edge.destination, edge.destination), edge.destination) for edge in outgoing]
        )
        self._links.set_visibility(not outside)
        self._traces.props["href"] = links.traces(service=node.app)
        self._logs.set_visibility(not node.is_service)
        self._logs.props["href"] = links.logs(workload=node.workload)


def _line(edge: GraphEdge, title: str, node: str) -> Line:
    health = formatting.health_of(edge)
    return Line(
        title,
        links.graph(node=node),
        (
            formatting.flow(edge),
            (formatting.errors(edge), f"health-{health}"),
            formatting.duration(edge.p50_ms),
            formatting.duration(edge.p99_ms),
        ),
        icon="lock" if edge.mtls else "lock_open",
    )


def _legend() -> None:
    with ui.element("div").classes("legend"):
        for word in ("healthy", "degraded", "failing"):
            with ui.element("span"):
                ui.element("i").classes(word)
                ui.label(word)
        with ui.element("span"):
            ui.icon("lock").classes("lock")
            ui.label("mutual TLS")
        with ui.element("span"):
            ui.icon("lock_open").classes("lock_open")
            ui.label("not all")
