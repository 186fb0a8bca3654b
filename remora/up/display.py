"""What people see of `remora up`: how far it is, then where to look."""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mesh.logs import escape

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_MARKS = {"waiting": "[dim]·[/]", "starting": "[yellow]◐[/]", "ready": "[green]●[/]"}


class Progress:
    """A live list of the children and their state, on a terminal; nothing elsewhere."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._stages: dict[str, str] = {}
        self._began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        if self._shown:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), get_renderable=self._render, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, name: str, what: str) -> None:
        """A child is now `waiting`, `starting` or `ready`."""
        self._stages[name] = what

    def _render(self) -> "Table":
        from rich.table import Table

        ready = sum(stage == "ready" for stage in self._stages.values())
        table = Table.grid(padding=(0, 2))
        table.title = f"starting the mesh: {ready} of {len(self._stages)} ({time.monotonic() - self._began:.1f} s)"
        cells = [f"{_MARKS[stage]} {name}" for name, stage in self._stages.items()]
        for start in range(0, len(cells), 3):
            table.add_row(*cells[start : start + 3])
        return table


def print_summary(mesh: dict[str, Any], seconds: float, *, samples: bool, state_is_default: bool) -> None:
    """Where to look, and what to try. Addresses stand alone in their lines, for a mouse to take them whole."""
    from rich.console import Console
    from rich.text import Text

    remora = _as_typed()
    text = Text()
    text.append(f"The mesh is ready ({seconds:.1f} s)\n\n", "bold green")
    text.append("  Console   ", "bold").append(escape(mesh["console"]), "cyan").append("\n")
    text.append("  Jaeger    ", "bold").append(escape(mesh["jaeger"]), "cyan").append("  (its HTTP API)\n", "dim")
    name, url = ("Bookinfo", f"{mesh['ingress']}/productpage") if samples else ("Ingress ", mesh["ingress"])
    text.append(f"  {name}  ", "bold").append(url, "cyan").append("\n")
    text.append("  State     ", "bold").append(escape(mesh["state"])).append("\n\n")
    text.append("Try, in another terminal\n\n", "bold")
    if not state_is_default:
        text.append(f"  export REMORA_STATE={escape(shlex.quote(mesh['state']))}\n", "green")
    for command, what in (
        ("status", "who is connected, and runs which rules"),
        ("get all", "the rules that are stored"),
        ("traces", "requests on their way through the mesh"),
        ("logs --follow", "every request, as it happens"),
    ):
        text.append(f"  {remora} {command:<15}", "green").append(f" {what}\n", "dim")
    text.append("\nCtrl-C ends it; the rules stay for the next time.", "dim")
    Console(highlight=False, soft_wrap=True).print(text)


def _as_typed() -> str:
    """How the user can call the command from where he stands."""
    found = shutil.which("remora")
    this = Path(sys.argv[0])
    if this.name != "remora" or (found is not None and os.path.samefile(found, this)):
        return "remora"
    return escape(os.path.relpath(this))
