"""The browser's half of the waterfall, as an element of the page."""

from collections.abc import Callable
from typing import Any

from nicegui import events
from nicegui.element import Element


class WaterfallView(Element, component="assets/waterfall.js"):
    """Draws rows whose places were computed before; says which one was picked."""

    def __init__(self, on_pick: Callable[[events.GenericEventArguments], Any]) -> None:
        super().__init__()
        self._props["rows"] = []
        self._props["ticks"] = []
        self._props["start"] = 0.0
        self.on("pick", on_pick)

    def set(self, rows: list[dict[str, Any]], ticks: list[dict[str, Any]], start: float) -> None:
        """Draw these; `start` is seconds since the epoch."""
        self._props["rows"] = rows
        self._props["ticks"] = ticks
        self._props["start"] = start
        self.update()
