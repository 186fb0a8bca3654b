"""The trace search."""

from typing import Any

from nicegui import ui

from collectors.store.answers import TraceSummary
from dashboards.console import formatting, links
from dashboards.console.console import Console
from dashboards.console.parts import Grid, search_input, select, window_select
from dashboards.console.shell import Frame, frame

DEFAULT_WINDOW = "15m"
LIMIT = 200

_COLUMNS: tuple[dict[str, Any], ...] = (
    {"headerName": "Started", "field": "start", "width": 150, ":cellRenderer": "p => remora.cell.moment(p)",
     "sort": "desc"},
    {"headerName": "Began at", "field": "service", "flex": 1, "minWidth": 120},
    {"headerName": "Request", "field": "name", "flex": 2, "minWidth": 160, "tooltipField": "name"},
    {"headerName": "Duration", "field": "duration", "width": 150, ":cellRenderer": "p => remora.cell.duration(p)"},
    {"headerName": "Spans", "field": "spans", "width": 85, "type": "rightAligned"},
    {"headerName": "Services", "field": "services", "flex": 2, "minWidth": 160, "tooltipField": "services"},
    {"headerName": "Outcome", "field": "error", "width": 105, ":cellRenderer": "p => remora.cell.outcome(p)"},
    {"headerName": "Trace", "field": "id", "width": 110, ":cellRenderer": "p => remora.cell.traceLink(p)"},
)  # fmt: skip


def register(console: Console) -> None:
    """Serve `/traces`."""

    @ui.page("/traces")
    async def page(service: str = "", text: str = "", min_ms: str = "", errors: str = "", window: str = "") -> None:
        with frame(console, "Traces") as around:
            traces = TracesPage(
                around,
                service=links.search_text(service),
                text=links.search_text(text),
                min_ms=links.milliseconds(min_ms),
                errors=errors in ("1", "true"),
                window=links.window(window, DEFAULT_WINDOW),
            )
        await around.live(traces.refresh)


def rows(traces: list[TraceSummary]) -> list[dict[str, Any]]:
    """Lines of the table; bars are relative to the longest trace shown."""
    longest = max((trace.duration_ms for trace in traces), default=0.0)
    return [
        {
            "id": trace.trace_id,
            "start": trace.start,
            "service": trace.root_service,
            "name": trace.request,
            "duration": trace.duration_ms,
            "duration_text": formatting.duration(trace.duration_ms),
            "share": trace.duration_ms / longest if longest > 0 else 0.0,
            "spans": trace.spans,
            "services": ", ".join(trace.services),
            "error": trace.error,
        }
        for trace in traces
    ]


class TracesPage:
    """One tab's search."""

    def __init__(self, around: Frame, *, service: str, text: str, min_ms: float, errors: bool, window: str) -> None:
        self._frame = around
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Traces</h1>", sanitize=False)
            self._text = search_input("Text, name, attribute or trace id", text, 270)
            self._service = select("Service", [service] if service else [], service, 170)
            self._min_ms = (
                ui.number("At least, ms", value=min_ms or None, min=0)
                .props("outlined dense debounce=300")
                .style("width: 110px")
            )
            self._errors = ui.switch("Errors only", value=errors).props("dense")
            self._window = window_select(window)
            ui.element("div").classes("grow")
            self._count = ui.label().classes("muted")
        with ui.element("div").classes("split"):
            self._grid = Grid(
                _COLUMNS,
                row_id="id",
                on_row=self._picked,
                empty="No trace matches. Only sampled requests leave one: mind the sampling rate.",
            )
        for field in (self._text, self._service, self._min_ms, self._errors, self._window):
            field.on_value_change(self._changed)

    async def refresh(self) -> None:
        """Search again."""
        console = self._frame.console
        now = console.clock.now()
        since = now - links.WINDOWS_S[links.window(str(self._window.value), DEFAULT_WINDOW)]
        text = links.search_text(str(self._text.value or ""))
        service = self._service.value or None
        min_ms = links.milliseconds(str(self._min_ms.value or 0))
        errors = bool(self._errors.value)
        found = await console.telemetry.ask(
            lambda reader: reader.traces(
                service=service,
                since=since,
                min_duration_ms=min_ms,
                errors_only=errors,
                text=text,
                limit=LIMIT,
            )
        )
        self._offer({name for trace in found for name in trace.services})
        self._grid.set(rows(found))
        more = "newest " if len(found) == LIMIT else ""
        self._count.set_text(f"{more}{formatting.count(len(found), 'trace')}")

    def _offer(self, services: set[str]) -> None:
        """Services to choose from: all that were ever seen by this tab."""
        known = set(self._service.options)
        if services - known:
            self._service.set_options(sorted(known | services), value=self._service.value)

    async def _changed(self) -> None:
        await self._frame.once(self.refresh)

    def _picked(self, data: dict[str, Any]) -> None:
        trace_id = str(data.get("id", ""))
        if links.is_trace_id(trace_id):
            ui.navigate.to(links.trace(trace_id))
