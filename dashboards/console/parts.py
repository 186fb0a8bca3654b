"""Pieces that several pages are made of. Whatever text they are given is shown as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from dashboards.console import links

Row = dict[str, Any]


def empty_state(icon: str, what: str, hint: str) -> ui.element:
    """What is said where nothing is to be shown yet."""
    with ui.element("div").classes("empty") as box:
        ui.icon(icon)
        ui.label(what).classes("what")
        ui.label(hint).classes("hint")
    return box


def button(text: str, kind: str, on_click: Callable[[], Any], *, icon: str = "") -> ui.button:
    """A button of one of our kinds: "primary", "plain" or "danger"."""
    made = ui.button(text, icon=icon or None, on_click=lambda: on_click(), color=None)
    return made.props("unelevated no-caps").classes(f"action {kind}")


def icon_button(icon: str, label: str, on_click: Callable[[], Any] | None = None) -> ui.button:
    """A button that is only a picture; `label` says it to those who do not see it. Without `on_click` the browser does
    what it is for."""
    handler = None if on_click is None else lambda: on_click()
    made = ui.button(icon=icon, on_click=handler, color=None).props("flat round dense").classes("icon-only")
    made.props["aria-label"] = label
    return made


def search_input(label: str, value: str, width_px: int) -> ui.input:
    """Where words are written; their change is told when they have stood for a moment."""
    made = ui.input(label, value=value).props("outlined dense clearable debounce=300")
    return made.style(f"width: {width_px}px")


def select(label: str, options: Sequence[str] | Mapping[str, str], value: str, width_px: int) -> ui.select:
    """One of several, or none."""
    choices = dict(options) if isinstance(options, Mapping) else list(options)
    made = ui.select(choices, label=label, value=value or None, clearable=True).props("outlined dense options-dense")
    return made.style(f"width: {width_px}px")


def window_select(window: str) -> ui.select:
    """How far back is looked."""
    made = ui.select({name: f"Last {links.WINDOW_NAMES[name]}" for name in links.WINDOWS_S}, value=window)
    return made.props("outlined dense options-dense").style("width: 138px")


class Choice:
    """A few alternatives side by side."""

    def __init__(self, label: str, options: dict[str, str], value: str, on_change: Callable[[str], Any]) -> None:
        self._buttons: dict[str, ui.element] = {}
        self._on_change = on_change
        with ui.element("div").classes("choice").props("role=group") as group:
            group.props["aria-label"] = label
            for key, text in options.items():
                with ui.element("button").props("type=button") as one:
                    ui.label(text)
                one.on("click", lambda _, key=key: self._choose(key))
                self._buttons[key] = one
        self._mark(value)

    def _choose(self, key: str) -> Any:
        self._mark(key)
        return self._on_change(key)

    def _mark(self, value: str) -> None:
        for key, one in self._buttons.items():
            one.props["aria-pressed"] = "true" if key == value else "false"


class Stats:
    """Figures with a caption; `set` changes them in place."""

    def __init__(self, captions: Sequence[str]) -> None:
        self._values: list[ui.label] = []
        with ui.element("div").classes("stats").style(f"--columns: {3 if len(captions) % 3 == 0 else 2}"):
            for caption in captions:
                with ui.element("div").classes("stat"):
                    ui.label(caption).classes("what")
                    self._values.append(ui.label("–").classes("value"))

    def set(self, *values: str | tuple[str, str]) -> None:
        """A text each, or a text and its class."""
        for label, value in zip(self._values, values, strict=True):
            text, kind = value if isinstance(value, tuple) else (value, "")
            label.set_text(text)
            label.classes(replace=f"value {kind}")


@dataclass(frozen=True, slots=True)
class Line:
    """One of `Lines`."""

    name: str
    target: str
    """Where its name leads."""
    figures: tuple[str | tuple[str, str], ...]
    """A text each, or a text and its class."""
    icon: str = ""
    """A Material icon before the name, and the class that colours it."""


class Lines:
    """A short list, a name and some figures a line. Lines are reused, so that a refresh does not flicker."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("lines")
        self._shape: list[tuple[str, str, str, int]] = []
        self._figures: list[list[ui.label]] = []

    def set(self, lines: Sequence[Line]) -> None:
        """Show these."""
        self._box.set_visibility(bool(lines))
        shape = [(line.name, line.target, line.icon, len(line.figures)) for line in lines]
        if shape != self._shape:
            self._shape = shape
            self._rebuild(lines)
        for labels, line in zip(self._figures, lines, strict=True):
            for label, figure in zip(labels, line.figures, strict=True):
                text, kind = figure if isinstance(figure, tuple) else (figure, "muted")
                label.set_text(text)
                label.classes(replace=f"num {kind}")

    def _rebuild(self, lines: Sequence[Line]) -> None:
        self._box.clear()
        figures = max((len(line.figures) for line in lines), default=1)
        self._box.style(f"grid-template-columns: 1fr repeat({figures}, auto)")
        self._figures = []
        with self._box:
            for line in lines:
                with ui.element("div").classes("line"):
                    with ui.element("div").classes("name"):
                        if line.icon:
                            ui.icon(line.icon).classes(line.icon)
                        ui.link(line.name, line.target)
                    self._figures.append([ui.label() for _ in line.figures])


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns."""
    with ui.element("div").classes("facts"):
        for name, value in pairs:
            ui.label(name).classes("k")
            ui.label(value).classes("v mono")


class Grid:
    """AG Grid with our columns. `set` changes rows in place: selection and scroll position stay.

    Columns and options are literals of this program. Rows hold plain values under literal keys only: the framework
    evaluates keys that begin with a colon.
    """

    def __init__(
        self,
        columns: Sequence[dict[str, Any]],
        *,
        row_id: str,
        on_row: Callable[[dict[str, Any]], Any] | None = None,
        empty: str = "Nothing here",
    ) -> None:
        self._row_id = row_id
        self._rows: dict[Any, Row] = {}
        with ui.element("div").classes("card grid-card"):
            self.element = ui.aggrid(
                {
                    "columnDefs": list(columns),
                    "rowData": [],
                    "defaultColDef": {"sortable": True, "resizable": True, "suppressMovable": True},
                    ":getRowId": f"p => String(p.data.{row_id})",
                    "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
                    "suppressCellFocus": False,
                    "enableCellTextSelection": True,
                    "animateRows": False,
                    "overlayNoRowsTemplate": f"<span>{empty}</span>",
                    "tooltipShowDelay": 400,
                },
                auto_size_columns=False,
            )
        if on_row is not None:
            self.element.on("rowClicked", lambda event: on_row(event.args.get("data") or {}), ["data"])

    def set(self, rows: list[dict[str, Any]]) -> None:
        """Show these; only what is new, gone or different is sent."""
        before, now = self._rows, {row[self._row_id]: row for row in rows}
        self._rows = now
        if not before:
            # With the page itself, if it is not delivered yet.
            self.element.options["rowData"] = rows if not self.element.client.has_socket_connection else []
            if self.element.client.has_socket_connection and rows:
                self.element.run_grid_method("setGridOption", "rowData", rows)
            return
        change = changes(before, now)
        if any(change.values()):
            self.element.run_grid_method("applyTransaction", change)


def changes(before: Mapping[Any, Row], now: Mapping[Any, Row]) -> dict[str, list[Row]]:
    """What turns the rows `before` into `now`, as AG Grid's transaction. The grid's own sorting gives them order."""
    return {
        "add": [row for key, row in now.items() if key not in before],
        "update": [row for key, row in now.items() if key in before and before[key] != row],
        "remove": [row for key, row in before.items() if key not in now],
    }
