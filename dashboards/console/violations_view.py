"""What is wrong with the editor's text, at its lines and in a list below."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from dashboards.console.answers import Violation

MAX_SHOWN = 200


def decorations(violations: Sequence[Violation], lines: int) -> list[dict[str, Any]]:
    """One mark for each line that is to blame, errors before warnings; literal keys and classes only."""
    worst: dict[int, str] = {}
    for violation in violations:
        if 1 <= violation.line <= lines and worst.get(violation.line) != "error":
            worst[violation.line] = violation.severity
    return [
        {"kind": "line", "line": line, "class": "violation" if severity == "error" else "violation-warning"}
        for line, severity in sorted(worst.items())
    ]


def tooltips(violations: Sequence[Violation], lines: int) -> dict[int, str]:
    """The messages of each line; shown as text."""
    found: dict[int, list[str]] = {}
    for violation in violations:
        if 1 <= violation.line <= lines:
            found.setdefault(violation.line, []).append(describe(violation))
    return {line: "\n".join(texts) for line, texts in found.items()}


def describe(violation: Violation) -> str:
    """Path and message."""
    return f"{violation.path}: {violation.message}" if violation.path else violation.message


class ViolationsView:
    """The list under an editor, and the marks in it."""

    def __init__(self, editor: ui.codemirror) -> None:
        self._editor = editor
        self._box = ui.element("div").classes("violations").props('role="status" aria-live="polite"')
        self._box.set_visibility(False)

    def clear(self) -> None:
        """Nothing is known about the text."""
        self._box.set_visibility(False)
        self._editor.decorations = []
        self._editor.line_tooltips = {}

    def show(self, violations: Sequence[Violation], *, summary: str = "") -> None:
        """Show what is wrong; `summary` says what would happen if nothing but warnings is."""
        lines = self._editor.value.count("\n") + 1
        shown = violations[:MAX_SHOWN]
        self._editor.decorations = decorations(shown, lines)
        self._editor.line_tooltips = tooltips(shown, lines)
        self._box.set_visibility(True)
        self._box.clear()
        with self._box:
            if summary:
                ui.label(f"Valid: {summary}").classes("good")
            for violation in shown:
                self._row(violation, lines)
            if len(violations) > len(shown):
                ui.label(f"… and {len(violations) - len(shown):,} more").classes("muted").style("padding: 7px 14px")

    def _row(self, violation: Violation, lines: int) -> None:
        row = ui.element("div").classes("v-row" + (" warning" if violation.severity == "warning" else ""))
        with row:
            ui.label(f"line {violation.line}" if violation.line else "–").classes("v-line")
            with ui.element("div").style("overflow-wrap: anywhere"):
                if violation.path:
                    ui.label(violation.path).classes("v-path mono")
                ui.label(violation.message)
        if 1 <= violation.line <= lines:
            row.on("click", lambda: self._editor.reveal_line(violation.line))
