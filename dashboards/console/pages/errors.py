"""Failures, alike ones as one: what goes wrong, how often, since when and since which release."""

from typing import Any

from nicegui import ui

from collectors.store.answers import ErrorGroup
from dashboards.console import formatting, links
from dashboards.console.console import Console
from dashboards.console.parts import Grid, Stats, facts, icon_button, search_input, select, window_select
from dashboards.console.shell import Frame, frame

DEFAULT_WINDOW = "1h"
LIMIT = 500
BARS = 60
"""Of the curve: one for each so many minutes."""
MAX_SAMPLE_CHARS = 16 * 1024

_COLUMNS: tuple[dict[str, Any], ...] = (
    {"headerName": "Error", "field": "title", "flex": 3, "minWidth": 160, "tooltipField": "title"},
    {"headerName": "Where", "field": "culprit", "flex": 2, "minWidth": 110, "tooltipField": "culprit",
     "cellClass": "mono"},
    {"headerName": "Service", "field": "service", "width": 112, "tooltipField": "service"},
    {"headerName": "Times", "field": "recent", "width": 82, "type": "rightAligned", "sort": "desc"},
    {"headerName": "Last seen", "field": "last", "width": 118, ":cellRenderer": "p => remora.cell.moment(p)"},
    {"headerName": "First seen", "field": "first", "width": 118, ":cellRenderer": "p => remora.cell.moment(p)"},
    {"headerName": "Release", "field": "release", "width": 86, "tooltipField": "release"},
    {"headerName": "Trace", "field": "trace", "width": 98, ":cellRenderer": "p => remora.cell.traceLink(p)"},
)  # fmt: skip


def register(console: Console) -> None:
    """Serve `/errors`."""

    @ui.page("/errors")
    async def page(text: str = "", service: str = "", kind: str = "", new: str = "", window: str = "") -> None:
        with frame(console, "Errors") as around:
            errors = ErrorsPage(
                around,
                text=links.search_text(text),
                service=links.search_text(service),
                kind=links.error_kind(kind),
                new=new in ("1", "true"),
                window=links.window(window, DEFAULT_WINDOW),
            )
        await around.live(errors.refresh)


def rows(groups: list[ErrorGroup]) -> list[dict[str, Any]]:
    """Lines of the table, as plain values."""
    return [
        {
            "id": group.fingerprint,
            "title": group.title,
            "culprit": group.culprit,
            "service": group.service,
            "recent": group.recent,
            "last": group.last_seen,
            "first": group.first_seen,
            "release": group.first_release,
            "trace": group.trace_id if group.trace_id and links.is_trace_id(group.trace_id) else "",
        }
        for group in groups
    ]


def bars(curve: list[tuple[float, int]], since: float, until: float, *, most: int = BARS) -> list[int]:
    """Occurrences in equal parts of the time, oldest first; each part is of whole minutes."""
    minutes = max(1, round((until - since) / 60))
    width_s = 60 * max(1, -(-minutes // most))
    first = since // 60 * 60
    parts = [0] * (int((until - first) // width_s) + 1)
    for time, number in curve:
        index = int((time - first) // width_s)
        if 0 <= index < len(parts):
            parts[index] += number
    return parts


class ErrorsPage:
    """One tab's search."""

    def __init__(self, around: Frame, *, text: str, service: str, kind: str, new: bool, window: str) -> None:
        self._frame = around
        self._groups: dict[str, ErrorGroup] = {}
        self._shown = ""
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Errors</h1>", sanitize=False)
            self._text = search_input("Words in error, place or service", text, 250)
            self._service = select("Service", [service] if service else [], service, 165)
            self._kind = select("Kind", dict(links.ERROR_KINDS), kind, 165)
            self._new = ui.switch("New ones only", value=new).props("dense")
            self._window = window_select(window)
            ui.element("div").classes("grow")
            self._count = ui.label().classes("muted")
        with ui.element("div").classes("split"):
            self._grid = Grid(
                _COLUMNS, row_id="id", on_row=self._picked, empty="Nothing failed in this window, or nothing said so."
            )
            self._panel = ui.element("aside").classes("card panel")
        self._panel.set_visibility(False)
        for field in (self._text, self._service, self._kind, self._new, self._window):
            field.on_value_change(self._changed)

    async def refresh(self) -> None:
        """Search again."""
        console = self._frame.console
        since = console.clock.now() - self._window_s()
        text = links.search_text(str(self._text.value or ""))
        service, kind = self._service.value or None, links.error_kind(str(self._kind.value or "")) or None
        new_since = since if self._new.value else None
        found = await console.telemetry.ask(
            lambda reader: reader.errors(
                since=since, new_since=new_since, service=service, kind=kind, text=text, limit=LIMIT
            )
        )
        self._groups = {group.fingerprint: group for group in found}
        self._offer({group.service for group in found})
        self._grid.set(rows(found))
        more = "most frequent " if len(found) == LIMIT else ""
        self._count.set_text(f"{more}{formatting.count(len(found), 'error')}")

    def _window_s(self) -> float:
        return links.WINDOWS_S[links.window(str(self._window.value), DEFAULT_WINDOW)]

    def _offer(self, services: set[str]) -> None:
        """Services to choose from: all that were ever seen by this tab."""
        known = set(self._service.options)
        if services - known:
            self._service.set_options(sorted(known | services), value=self._service.value)

    async def _changed(self) -> None:
        await self._frame.once(self.refresh)

    async def _picked(self, data: dict[str, Any]) -> None:
        group = self._groups.get(str(data.get("id", "")))
        if group is not None:
            self._shown = group.fingerprint
            await self._frame.once(lambda: self._show(group))

    async def _show(self, group: ErrorGroup) -> None:
        console = self._frame.console
        until = console.clock.now()
        since = until - self._window_s()
        curve = await console.telemetry.ask(lambda reader: reader.error_curve(group.fingerprint, since, until))
        if self._shown != group.fingerprint:
            return  # another was picked meanwhile
        self._panel.set_visibility(True)
        self._panel.clear()
        with self._panel:
            detail(group, bars(curve, since, until), until, lambda: self._panel.set_visibility(False))


def detail(group: ErrorGroup, curve: list[int], now: float, on_close: Any) -> None:
    """All of one group."""
    with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
        with ui.element("div").classes("grow"):
            ui.html("<h3>Error</h3>", sanitize=False)
            ui.label(group.title).style("font-weight: 600; font-size: 15px; overflow-wrap: anywhere")
            ui.label(f"{group.service} · {links.ERROR_KINDS.get(group.kind, group.kind)}").classes("muted")
        icon_button("close", "Close", on_close)
    Stats(("In window", "In all", "Last seen")).set(
        f"{group.recent:,}", f"{group.count:,}", f"{formatting.span_of_time(now - group.last_seen)} ago"
    )
    _draw(curve)
    with ui.element("div"):
        ui.html('<h3 class="small">Since</h3>', sanitize=False)
        facts(
            [
                ("first seen", f"{formatting.span_of_time(now - group.first_seen)} ago"),
                ("in release", group.first_release or "not said"),
                ("last release", group.last_release or "not said"),
                ("where", group.culprit or "not said"),
                ("workload", group.workload),
            ]
        )
    with ui.element("div"):
        ui.html('<h3 class="small">Last time</h3>', sanitize=False)
        # A label's text is set as text, whatever the tag.
        ui.label(formatting.shorten(group.sample, MAX_SAMPLE_CHARS)).classes("mono sample")
    if group.trace_id and links.is_trace_id(group.trace_id):
        ui.link("Open its trace", links.trace(group.trace_id))
        ui.link("Logs of that trace", links.logs(trace_id=group.trace_id))
    ui.link("Errors in this workload's log", links.logs(workload=group.workload, severity="error"))
    ui.link("Failed traces of this service", links.traces(service=group.service, errors="1"))


def _draw(curve: list[int]) -> None:
    most = max(curve, default=0)
    if not most:
        return
    total = formatting.count(sum(curve), "error")
    with ui.element("div").classes("bars").props("role=img") as box:
        box.props["aria-label"] = f"{total} in the window, at most {most:,} at once"
        for number in curve:
            share = 0 if not number else max(4, round(100 * number / most))
            ui.element("span").style(f"height: {share}%")
