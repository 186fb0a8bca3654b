"""The services page: a table of all services, and one of them in detail."""

from typing import Any

from nicegui import ui

from collectors.store.answers import Graph, ServiceSummary
from dashboards.console import formatting, links
from dashboards.console.answers import Resource
from dashboards.console.console import Console
from dashboards.console.control import ControlUnavailable
from dashboards.console.parts import Choice, Grid, Line, Lines, Stats, icon_button
from dashboards.console.shell import Frame, frame

DEFAULT_WINDOW = "1m"

_COLUMNS: tuple[dict[str, Any], ...] = (
    {"headerName": "Service", "field": "name", "flex": 2, "minWidth": 130},
    {"headerName": "Namespace", "field": "namespace", "flex": 1, "minWidth": 110},
    {"headerName": "Versions", "field": "versions", "flex": 1, "minWidth": 100},
    {"headerName": "Traffic", "field": "rate", "flex": 1, "minWidth": 105, "type": "rightAligned",
     ":valueFormatter": "p => p.data.rate_text"},
    {"headerName": "Errors", "field": "errors", "flex": 1, "minWidth": 90, "type": "rightAligned",
     ":cellRenderer": "p => remora.cell.errors(p)"},
    {"headerName": "p50", "field": "p50", "flex": 1, "minWidth": 85, "type": "rightAligned",
     ":valueFormatter": "p => p.data.p50_text"},
    {"headerName": "p99", "field": "p99", "flex": 1, "minWidth": 85, "type": "rightAligned",
     ":valueFormatter": "p => p.data.p99_text"},
    {"headerName": "Security", "field": "mtls", "flex": 1, "minWidth": 120,
     ":cellRenderer": "p => remora.cell.mtls(p)"},
)  # fmt: skip


def register(console: Console) -> None:
    """Serve `/services`."""

    @ui.page("/services")
    async def page(window: str = "", service: str = "") -> None:
        with frame(console, "Services") as around:
            services = ServicesPage(around, links.window(window, DEFAULT_WINDOW), service)
        await around.live(services.refresh)


def key(service: ServiceSummary) -> str:
    """A service's id on this page."""
    return f"{service.namespace}/{service.name}"


def row(service: ServiceSummary) -> dict[str, Any]:
    """A line of the table: values to sort by and texts to show."""
    health = formatting.health_of(service)
    return {
        "key": key(service),
        "name": service.name,
        "namespace": service.namespace,
        "versions": ", ".join(service.versions) or formatting.NOTHING,
        "rate": service.requests_per_s,
        "rate_text": formatting.flow(service),
        "errors": service.error_rate,
        "errors_text": formatting.errors(service) if service.requests_per_s > 0 else formatting.NOTHING,
        "health": health,
        "p50": service.p50_ms,
        "p50_text": formatting.duration(service.p50_ms),
        "p99": service.p99_ms,
        "p99_text": formatting.duration(service.p99_ms),
        "mtls": formatting.NOTHING if health == "idle" else "mutual TLS" if service.mtls else "not all mTLS",
    }


class ServicesPage:
    """One tab's table."""

    def __init__(self, around: Frame, window: str, selected: str) -> None:
        self._frame = around
        self._window = window
        self._selected = selected
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Services</h1>", sanitize=False)
            Choice("Window", {name: links.WINDOW_NAMES[name] for name in links.WINDOWS_S}, window, self._set_window)
            ui.element("div").classes("grow")
            self._count = ui.label().classes("muted")
        with ui.element("div").classes("split"):
            self._grid = Grid(
                _COLUMNS, row_id="key", on_row=self._picked, empty="No service was asked for anything in this window."
            )
            self._panel = ui.element("aside").classes("card panel")
            with self._panel:
                self._details = _Details(self._close)
        self._panel.set_visibility(False)

    async def refresh(self) -> None:
        """Ask the store, and fill in what changed."""
        window_s = links.WINDOWS_S[self._window]
        console = self._frame.console
        now = console.clock.now()
        services = await console.telemetry.share(("services", window_s), lambda reader: reader.services(now, window_s))
        self._count.set_text(formatting.count(len(services), "service"))
        self._grid.set([row(service) for service in services])
        service = next((one for one in services if key(one) == self._selected), None)
        self._panel.set_visibility(service is not None)
        if service is not None:
            graph = await console.telemetry.share(("graph", window_s), lambda reader: reader.graph(now, window_s))
            self._details.show(service, graph, await self._registered(service.namespace))

    async def _registered(self, namespace: str) -> tuple[Resource, ...] | None:
        try:
            return await self._frame.console.control.resources("Workload", namespace)
        except ControlUnavailable:
            return None

    async def _picked(self, data: dict[str, Any]) -> None:
        self._selected = str(data.get("key", ""))
        await self._frame.once(self.refresh)

    def _close(self) -> None:
        self._selected = ""
        self._panel.set_visibility(False)

    async def _set_window(self, window: str) -> None:
        self._window = links.window(window, DEFAULT_WINDOW)
        await self._frame.once(self.refresh)


def belongs(workload: Resource, service: ServiceSummary) -> bool:
    """Whether a registered workload serves `service`."""
    document = workload.document
    spec = document.get("spec")
    named = (spec if isinstance(spec, dict) else document).get("service")
    return workload.namespace == service.namespace and named == service.name


class _Details:
    """The panel about one service."""

    def __init__(self, on_close: Any) -> None:
        with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
            with ui.element("div").classes("grow"):
                ui.html("<h3>Service</h3>", sanitize=False)
                self._title = ui.label().classes("title").props('role="heading" aria-level="2"')
                self._about = ui.label().classes("muted")
            icon_button("close", "Close", on_close)
        self._stats = Stats(("Traffic", "Errors", "p50", "p99"))
        with ui.element("div").classes("section"):
            ui.html('<h3 class="small">Workloads</h3>', sanitize=False)
            self._workloads = Lines()
            self._none = ui.label("No workload of it was asked for anything in this window.").classes("muted")
        with ui.element("div").classes("section") as self._callers:
            ui.html('<h3 class="small">Called by</h3>', sanitize=False)
            self._sources = Lines()
        with ui.element("div").classes("row-line"):
            self._graph = ui.link("Graph", "/")
            self._traces = ui.link("Traces", "/traces")
            self._errors = ui.link("Errors", "/errors")

    def show(self, service: ServiceSummary, graph: Graph, registered: tuple[Resource, ...] | None) -> None:
        """Fill in, in place. `registered` is None when the control plane cannot be asked."""
        health = formatting.health_of(service)
        self._title.set_text(service.name)
        self._about.set_text(f"{service.namespace} · {', '.join(service.versions) or 'no version known'}")
        self._stats.set(
            formatting.flow(service),
            (formatting.errors(service), f"health-{health}"),
            formatting.duration(service.p50_ms),
            formatting.duration(service.p99_ms),
        )
        nodes = [node for node in graph.nodes if (node.namespace, node.app) == (service.namespace, service.name)]
        lines = {
            node.workload: Line(node.workload, links.logs(workload=node.workload), _figures(node))
            for node in nodes
            if not node.is_service
        }
        for workload in registered or ():
            if belongs(workload, service):
                idle = Line(workload.name, links.logs(workload=workload.name), (("idle", "health-idle"),))
                lines.setdefault(workload.name, idle)
        self._workloads.set([lines[name] for name in sorted(lines)])
        self._none.set_visibility(not lines)
        ids = {node.id: node for node in nodes}
        sources = [edge for edge in graph.edges if edge.destination in ids]
        self._callers.set_visibility(bool(sources))
        self._sources.set(
            [
                Line(
                    f"{edge.source.rpartition('/')[2]} → {ids[edge.destination].version}",
                    links.graph(node=edge.source),
                    _figures(edge),
                    icon="lock" if edge.mtls else "lock_open",
                )
                for edge in sources
            ]
        )
        self._graph.props["href"] = links.graph(node=f"{service.namespace}/{service.name}", view="services")
        self._traces.props["href"] = links.traces(service=service.name)
        self._errors.props["href"] = links.errors(service=service.name)


def _figures(of: formatting.Traffic) -> tuple[str, tuple[str, str]]:
    return formatting.flow(of), (formatting.errors(of), f"health-{formatting.health_of(of)}")
