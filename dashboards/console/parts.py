"""Pieces that several pages are made of. Whatever text they are given is shown as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

Row = dict[str, Any]


def empty_state(icon: str, what: str, hint: str) -> ui.element:
    """What is said where nothing is to be shown yet."""
    with ui.element("div").classes("empty") as box:
        ui.icon(icon)
        ui.label(what).classes("what")
        ui.label(hint).classes("hint")
    return box


def choice(options: dict[str, str], value: str, on_change: Callable[[str], Any]) -> ui.toggle:
    """A few alternatives side by side."""
    return (
        ui.toggle(options, value=value, on_change=lambda event: on_change(event.value))
        .props("unelevated no-caps dense")
        .classes("choice")
    )


class Stats:
    """Figures with a caption; `set` changes them in place."""

    def __init__(self, captions: Sequence[str]) -> None:
        self._values: list[ui.label] = []
        with ui.element("div").classes("stats"):
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


class Lines:
    """A short list, a name and two figures a line. Lines are reused, so that a refresh does not flicker."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("lines")
        self._rows: list[tuple[str, tuple[ui.link, ui.label, ui.label]]] = []

    def set(self, lines: Sequence[tuple[str, str, str, str, str]]) -> None:
        """Lines of (name, target of its link, figure, second figure, the second's class)."""
        self._box.set_visibility(bool(lines))
        if [(name, target) for name, target, *_ in lines] != [(row[1][0].text, row[0]) for row in self._rows]:
            self._rebuild(lines)
        for (_, (_, first, second)), (_, _, one, two, kind) in zip(self._rows, lines, strict=True):
            first.set_text(one)
            second.set_text(two)
            second.classes(replace=f"num {kind}")

    def _rebuild(self, lines: Sequence[tuple[str, str, str, str, str]]) -> None:
        self._box.clear()
        self._rows = []
        with self._box:
            for name, target, *_ in lines:
                with ui.element("div").classes("line"):
                    link = ui.link(name, target).classes("name")
                    self._rows.append((target, (link, ui.label().classes("num muted"), ui.label().classes("num"))))


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
