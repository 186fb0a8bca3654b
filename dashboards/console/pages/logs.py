"""The log search, with a live tail."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from collectors.store import Reader
from collectors.store.answers import LogEntry
from dashboards.console import formatting, links
from dashboards.console.console import Console
from dashboards.console.parts import Grid, icon_button, search_input, select, window_select
from dashboards.console.shell import Frame, frame

LIMIT = 1_000
DEFAULT_WINDOW = "15m"
TAIL_EVERY_S = 1.0
MAX_MESSAGE_CHARS = 2_000
"""Of a line in the table; the record's detail has the whole."""

COLUMNS: tuple[dict[str, Any], ...] = (
    {
        "headerName": "Time",
        "field": "time",
        "width": 145,
        "sort": "desc",
        ":cellRenderer": "p => remora.cell.moment(p)",
    },
    {"headerName": "Severity", "field": "severity", "width": 100, ":cellRenderer": "p => remora.cell.severity(p)"},
    {"headerName": "Workload", "field": "workload", "width": 150, "tooltipField": "workload"},
    {"headerName": "Message", "field": "message", "flex": 1, "minWidth": 200, "cellClass": "mono"},
    {"headerName": "Trace", "field": "trace", "width": 110, ":cellRenderer": "p => remora.cell.traceLink(p)"},
)


def register(console: Console) -> None:
    """Serve `/logs`."""

    @ui.page("/logs")
    async def page(
        text: str = "", workload: str = "", severity: str = "", trace_id: str = "", window: str = "", tail: str = "1"
    ) -> None:
        with frame(console, "Logs") as around:
            logs = LogsPage(
                around,
                Query(
                    links.search_text(text),
                    links.search_text(workload),
                    links.severity(severity),
                    trace_id.lower() if links.is_trace_id(trace_id.lower()) else "",
                    links.window(window, "6h" if trace_id else DEFAULT_WINDOW),
                ),
                tail != "0",
            )
        await around.live(logs.refresh, every_s=TAIL_EVERY_S)


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for; empty texts stand for everything."""

    text: str
    workload: str
    severity: str
    trace_id: str
    window: str

    def filters(self, now: float) -> dict[str, Any]:
        """The store's arguments."""
        return {
            "text": self.text,
            "workload": self.workload or None,
            "severity": self.severity or None,
            "trace_id": self.trace_id or None,
            "since": now - links.WINDOWS_S[self.window],
        }

    def first(self, reader: Reader, now: float) -> tuple[list[LogEntry], int]:
        """The newest records, and how many match in all."""
        found = reader.logs(limit=LIMIT, **self.filters(now))
        return found, len(found) if len(found) < LIMIT else reader.count_logs(**self.filters(now))

    def following(self, reader: Reader, now: float, rowid: int) -> list[LogEntry]:
        """What arrived after the record `rowid`."""
        return reader.logs(limit=LIMIT, after_rowid=rowid, **self.filters(now))


def joined(entries: Sequence[LogEntry], arrived: Sequence[LogEntry]) -> list[LogEntry]:
    """The newest of both, newest first, no more than are shown."""
    together = {entry.rowid: entry for entry in [*entries, *arrived]}
    return sorted(together.values(), key=lambda entry: (entry.time, entry.rowid), reverse=True)[:LIMIT]


def rows(entries: list[LogEntry]) -> list[dict[str, Any]]:
    """Lines of the table, as plain texts."""
    return [
        {
            "rowid": entry.rowid,
            "time": entry.time,
            "severity": entry.severity,
            "workload": entry.workload,
            "message": formatting.shorten(without_time(entry), MAX_MESSAGE_CHARS),
            "trace": entry.trace_id if entry.trace_id and links.is_trace_id(entry.trace_id) else "",
        }
        for entry in entries
    ]


def without_time(entry: LogEntry) -> str:
    """The message without its own time stamp, which the first column shows already."""
    return entry.message.removeprefix(f"[{entry.body.get('start_time')}] ")


class LogsPage:
    """One tab's search."""

    def __init__(self, around: Frame, query: Query, tail: bool) -> None:
        self._frame = around
        self._asked: Query | None = None
        self._total = 0
        self._entries: dict[int, LogEntry] = {}
        with ui.element("div").classes("toolbar"):
            ui.html("<h1>Logs</h1>", sanitize=False)
            self._text = search_input("Full-text search", query.text, 220)
            self._workload = select("Workload", [query.workload] if query.workload else [], query.workload, 165)
            self._severity = select("Severity", list(links.SEVERITIES), query.severity, 138)
            self._trace = search_input("Trace id", query.trace_id, 140)
            self._window = window_select(query.window)
            self._tail = ui.switch("Live", value=tail).props("dense")
            self._dot = ui.element("span").classes("live-dot")
            ui.element("div").classes("grow")
            self._count = ui.label().classes("muted")
        with ui.element("div").classes("split"):
            self._grid = Grid(COLUMNS, row_id="rowid", on_row=self._picked, empty="No record matches in this window.")
            self._panel = ui.element("aside").classes("card panel")
        self._panel.set_visibility(False)
        self._dot.set_visibility(tail)
        for field in (self._text, self._workload, self._severity, self._trace, self._window):
            field.on_value_change(self._changed)
        self._tail.on_value_change(lambda event: self._dot.set_visibility(bool(event.value)))

    async def refresh(self) -> None:
        """Search, if the question is new; else fetch what arrived since, if the tail is on."""
        query = self._query()
        console = self._frame.console
        now = console.clock.now()
        if query != self._asked:
            entries, total = await console.telemetry.ask(lambda reader: query.first(reader, now))
            self._asked, self._total = query, total
        elif self._tail.value:
            last = max(self._entries, default=0)
            arrived = await console.telemetry.ask(lambda reader: query.following(reader, now, last))
            if not arrived:
                return
            entries = joined(list(self._entries.values()), arrived)
            self._total += len(arrived)
        else:
            return
        if query != self._query():
            return  # the user went on typing; the answer to that is on its way
        self._entries = {entry.rowid: entry for entry in entries}
        self._offer({entry.workload for entry in entries if entry.workload})
        self._grid.set(rows(entries))
        shown = f"newest {len(entries):,} of {self._total:,} records" if self._total > len(entries) else ""
        self._count.set_text(shown or formatting.count(len(entries), "record"))

    def _query(self) -> Query:
        trace_id = str(self._trace.value or "").strip().lower()
        return Query(
            links.search_text(str(self._text.value or "")),
            str(self._workload.value or ""),
            links.severity(str(self._severity.value or "")),
            trace_id if links.is_trace_id(trace_id) else "",
            links.window(str(self._window.value), DEFAULT_WINDOW),
        )

    def _offer(self, workloads: set[str]) -> None:
        known = set(self._workload.options)
        if workloads - known:
            self._workload.set_options(sorted(known | workloads), value=self._workload.value)

    async def _changed(self) -> None:
        trace_id = str(self._trace.value or "").strip().lower()
        self._trace.props["error-message"] = "32 hexadecimal digits"
        self._trace.props["error"] = bool(trace_id) and not links.is_trace_id(trace_id)
        await self._frame.once(self.refresh)

    def _picked(self, data: dict[str, Any]) -> None:
        rowid = data.get("rowid")
        entry = self._entries.get(rowid) if isinstance(rowid, int) else None
        if entry is None:
            return
        self._panel.set_visibility(True)
        self._panel.clear()
        with self._panel:
            detail(entry, lambda: self._panel.set_visibility(False))


def detail(entry: LogEntry, on_close: Any) -> None:
    """All of one record."""
    with ui.element("div").classes("row-line").style("flex-wrap: nowrap; align-items: flex-start"):
        with ui.element("div").classes("grow"):
            ui.html("<h3>Record</h3>", sanitize=False)
            ui.label(entry.workload).style("font-weight: 600; font-size: 15px; overflow-wrap: anywhere")
            ui.label(f"{entry.severity} · {entry.tag}").classes("muted")
        icon_button("close", "Close", on_close)
    with ui.element("div"):
        ui.html('<h3 class="small">Message</h3>', sanitize=False)
        _pre(entry.message)
    with ui.element("div"):
        ui.html('<h3 class="small">Fields</h3>', sanitize=False)
        _pre(json.dumps(entry.body, indent=2, ensure_ascii=False, default=repr))
    if entry.trace_id and links.is_trace_id(entry.trace_id):
        ui.link("Open its trace", links.trace(entry.trace_id))


def _pre(text: str) -> None:
    # A label's text is set as text, whatever the tag.
    ui.label(formatting.shorten(text, 64 * 1024)).classes("mono").style(
        "white-space: pre-wrap; overflow-wrap: anywhere; background: var(--bg); border: 1px solid var(--border);"
        "border-radius: 9px; padding: 8px 10px; font-size: 12px"
    )
