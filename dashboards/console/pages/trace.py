"""One trace as a waterfall, with its spans' attributes and its logs."""

from typing import Any

from nicegui import events, ui

from collectors.store.answers import LogEntry, SpanEntry
from dashboards.console import formatting, links
from dashboards.console.console import Console
from dashboards.console.pages.logs import COLUMNS as LOG_COLUMNS
from dashboards.console.pages.logs import rows as log_rows
from dashboards.console.palette import service_colours
from dashboards.console.parts import Grid, Stats, empty_state, facts, icon_button
from dashboards.console.shell import Frame, frame
from dashboards.console.waterfall import Bar, Waterfall, lay_out
from dashboards.console.waterfall_view import WaterfallView

MAX_LOGS = 500
MAX_SPANS = 2_000
"""Drawn at most; the rest is counted."""


def register(console: Console) -> None:
    """Serve `/traces/ID`."""

    @ui.page("/traces/{trace_id}")
    async def page(trace_id: str) -> None:
        with frame(console, "Traces") as around:
            trace = TracePage(around, trace_id.lower())
        await around.live(trace.refresh)


def waterfall_rows(waterfall: Waterfall) -> list[dict[str, Any]]:
    """What the browser draws: places in percent, texts, and no data as a key."""
    colours = service_colours(tuple(bar.span.service for bar in waterfall.bars))
    return [_row(bar, colours[bar.span.service]) for bar in waterfall.bars[:MAX_SPANS]]


def _row(bar: Bar, colour: str) -> dict[str, Any]:
    note, hint = "", ""
    if bar.parent_missing:
        note, hint = "parent missing", f"Its parent {bar.span.parent_id} is not in this trace."
    elif bar.before_parent:
        note, hint = "clock skew", "It starts before its parent: the clocks of the two machines disagree."
    return {
        "depth": bar.depth,
        "service": bar.span.service,
        "name": _with_path(bar.span),
        "kind": bar.span.kind,
        "left": round(bar.left * 100, 3),
        "width": round(bar.width * 100, 3),
        "duration": formatting.duration(bar.span.duration_ms),
        "error": bar.span.error,
        "colour": colour,
        "note": note,
        "hint": hint,
    }


def _with_path(span: SpanEntry) -> str:
    """A span's name, and the path that was asked for where the name does not tell."""
    path = span.attributes.get("url.path")
    return span.name if not isinstance(path, str) or path in span.name else f"{span.name} {path}"


def waterfall_ticks(waterfall: Waterfall) -> list[dict[str, Any]]:
    """Round offsets along the axis."""
    total = waterfall.duration_ms or 1.0
    return [{"left": round(100 * offset / total, 3), "label": formatting.tick(offset)} for offset in waterfall.ticks]


class TracePage:
    """One tab's trace. It is read until it stops growing: spans arrive over a few seconds."""

    def __init__(self, around: Frame, trace_id: str) -> None:
        self._frame = around
        self._trace_id = trace_id
        self._spans: list[SpanEntry] = []
        self._waterfall = lay_out(())
        self._log_rows: list[dict[str, Any]] = []
        with ui.element("div").classes("toolbar"):
            ui.link("← Traces", "/traces")
            ui.html("<h1>Trace</h1>", sanitize=False)
            ui.label(trace_id).classes("mono muted")
            ui.element("div").classes("grow")
            self._summary = ui.label().classes("muted")
        self._empty = empty_state(
            "account_tree",
            "No such trace",
            "It may have been too old to keep, not sampled, or its spans have not arrived yet; this page looks again.",
        )
        with ui.element("div").classes("split") as self._split:
            with ui.element("div").classes("grow").style("display: flex; flex-direction: column; gap: 14px"):
                with ui.element("div").classes("card scroll").style("flex: 1 1 auto; min-height: 120px"):
                    self._view = WaterfallView(self._picked)
                with (
                    ui.element("div")
                    .classes("section")
                    .style("flex: none; height: 34%; display: flex; flex-direction: column; gap: 8px")
                ):
                    with ui.element("div").classes("row-line"):
                        ui.html('<h3 class="small" style="margin:0">Logs of this trace</h3>', sanitize=False)
                        ui.link("Open in logs", links.logs(trace_id=trace_id))
                    self._logs = Grid(
                        [_as_it_happened(column) for column in LOG_COLUMNS if column["field"] != "trace"],
                        row_id="rowid",
                        empty="No log record carries this trace's id.",
                    )
            self._panel = ui.element("aside").classes("card panel")
        self._panel.set_visibility(False)
        self._split.set_visibility(False)

    async def refresh(self) -> None:
        """Ask for the spans and logs, and draw them if there are more."""
        trace_id = self._trace_id
        if not links.is_trace_id(trace_id):
            return
        spans, logs = await self._frame.console.telemetry.ask(
            lambda reader: (reader.trace(trace_id), reader.logs(trace_id=trace_id, limit=MAX_LOGS))
        )
        self._empty.set_visibility(not spans)
        self._split.set_visibility(bool(spans))
        if spans != self._spans:
            self._spans = spans
            self._draw()
        self._show_logs(logs)

    def _draw(self) -> None:
        self._waterfall = waterfall = lay_out(self._spans)
        self._view.set(waterfall_rows(waterfall), waterfall_ticks(waterfall), waterfall.start)
        errors = sum(span.error for span in self._spans)
        services = len({span.service for span in self._spans})
        parts = [
            formatting.duration(waterfall.duration_ms),
            formatting.count(len(self._spans), "span"),
            formatting.count(services, "service"),
        ]
        if errors:
            parts.append(formatting.count(errors, "error"))
        if len(self._spans) > MAX_SPANS:
            parts.append(f"the first {MAX_SPANS:,} drawn")
        self._summary.set_text(" · ".join(parts))

    def _show_logs(self, logs: list[LogEntry]) -> None:
        self._logs.set(log_rows(logs))

    def _picked(self, event: events.GenericEventArguments) -> None:
        index = event.args.get("index") if isinstance(event.args, dict) else None
        if isinstance(index, int) and 0 <= index < len(self._waterfall.bars):
            self._show_span(self._waterfall.bars[index])

    def _show_span(self, bar: Bar) -> None:
        span = bar.span
        self._panel.set_visibility(True)
        self._panel.clear()
        with self._panel:
            with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
                with ui.element("div").classes("grow"):
                    ui.html("<h3>Span</h3>", sanitize=False)
                    ui.label(span.name).style("font-weight: 600; font-size: 15px; overflow-wrap: anywhere")
                    ui.label(f"{span.service} · {span.workload} · {span.kind}").classes("muted")
                icon_button("close", "Close", lambda: self._panel.set_visibility(False))
            Stats(("Duration", "Offset", "Outcome")).set(
                formatting.duration(span.duration_ms),
                f"+{formatting.duration(bar.offset_ms)}",
                ("error", "health-failing") if span.error else ("ok", "health-healthy"),
            )
            with ui.element("div"):
                ui.html('<h3 class="small">Attributes</h3>', sanitize=False)
                facts([(name, _shown(value)) for name, value in sorted(span.attributes.items())])
            with ui.element("div"):
                ui.html('<h3 class="small">Identity</h3>', sanitize=False)
                facts([("span", span.span_id), ("parent", span.parent_id or "none, it began the trace")])
            ui.link("Logs of this workload and trace", links.logs(trace_id=span.trace_id, workload=span.workload))
            if span.error:
                ui.link("Errors of this service", links.errors(service=span.service))


def _as_it_happened(column: dict[str, Any]) -> dict[str, Any]:
    return {**column, "sort": "asc"} if column["field"] == "time" else column


def _shown(value: Any) -> str:
    return formatting.shorten(value if isinstance(value, str) else repr(value), 4_000)
