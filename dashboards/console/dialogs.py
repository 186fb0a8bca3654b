"""Questions before something is done that others feel."""

from nicegui import ui

from dashboards.console.control import Applied
from dashboards.console.diff import diff
from dashboards.console.parts import button

MAX_DIFF_LINES = 2_000


async def ask(title: str, text: str, yes: str, *, danger: bool = False) -> bool:
    """Put a yes-or-no question. Closing it is a no."""
    with ui.dialog() as dialog, ui.element("div").classes("card dialog").props('role="alertdialog"'):
        ui.label(title).style("font-weight: 600; font-size: 17px; overflow-wrap: anywhere")
        ui.label(text).classes("muted")
        _answers(dialog, yes, "danger" if danger else "primary")
    try:
        return bool(await dialog)
    finally:
        dialog.delete()


async def ask_to_apply(planned: Applied) -> bool:
    """Show what an apply would change, line by line, and ask whether to do it. Nothing to change: says so, a no."""
    changed = [change for change in planned.changes if change.action != "unchanged"]
    if not changed:
        ui.notify("Nothing to apply: this is what is stored.", type="info")
        return False
    with ui.dialog() as dialog, ui.element("div").classes("card dialog").style("width: 860px"):
        ui.label("Apply these changes?").style("font-weight: 600; font-size: 17px")
        with ui.element("div").classes("scroll").style("display: flex; flex-direction: column; gap: 12px"):
            for change in changed:
                with ui.element("div"):
                    with ui.element("div").classes("row-line").style("margin-bottom: 6px"):
                        ui.label(change.action).classes("tag ok" if change.action == "created" else "tag warn")
                        ui.label(f"{change.kind} {change.namespace}/{change.name}").style("font-weight: 600")
                    _show_diff(change.before, change.after)
        for warning in planned.warnings:
            ui.label(f"Line {warning.line}: {warning.path}: {warning.message}").classes("health-degraded")
        _answers(dialog, "Apply", "primary")
    try:
        return bool(await dialog)
    finally:
        dialog.delete()


def _answers(dialog: ui.dialog, yes: str, kind: str) -> None:
    with ui.element("div").classes("row-line").style("justify-content: flex-end"):
        button("Cancel", "plain", lambda: dialog.submit(False))
        button(yes, kind, lambda: dialog.submit(True))


def _show_diff(before: str | None, after: str | None) -> None:
    lines = diff(before, after)
    marks = {"added": "+", "removed": "−", "same": "", "gap": ""}
    with ui.element("div").classes("diff mono"):
        for line in lines[:MAX_DIFF_LINES]:
            with ui.element("div").classes(f"d {line.kind}"):
                ui.label("" if line.old is None else str(line.old)).classes("no")
                ui.label("" if line.new is None else str(line.new)).classes("no")
                ui.label(marks[line.kind])
                ui.label(line.text)
        if len(lines) > MAX_DIFF_LINES:
            ui.label(f"… and {len(lines) - MAX_DIFF_LINES:,} more lines").classes("muted").style("padding: 0 10px")
