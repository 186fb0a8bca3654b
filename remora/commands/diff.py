"""`remora diff`: what an apply would change."""

import difflib
import sys
from typing import Any

from mesh.logs import escape
from remora.commands.options import FilesOption, StateOption

EPILOG = "Example: remora diff -f reviews.yaml"


def diff(state: StateOption, files: FilesOption) -> None:
    """Show what applying these rules would change, as a unified diff of the stored text.

    Nothing is stored. Exit status 0 with or without differences, 1 if the rules are wrong.
    """
    from remora import documents
    from remora.client import Control
    from remora.state import State

    read = documents.read(files)
    with Control(State(state)) as control:
        answer = control.apply(read, dry_run=True)
    for change in answer["changes"]:
        for line in lines(change):
            sys.stdout.write(_colored(line) if sys.stdout.isatty() else line)
            sys.stdout.write("\n")


def lines(change: dict[str, Any]) -> list[str]:
    """The unified diff of one change, without newlines; empty when nothing changes."""
    if change["action"] == "unchanged":
        return []
    name = f"{change['kind']}/{change.get('namespace', 'default')}/{change['name']}"
    before, after = (str(change.get(each) or "").splitlines() for each in ("before", "after"))
    old = f"stored/{name}" if change.get("before") else "/dev/null"
    return [escape(line) for line in difflib.unified_diff(before, after, old, f"new/{name}", lineterm="")]


def _colored(line: str) -> str:
    color = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}.get(line[:1])
    return f"{color}{line}\x1b[0m" if color else line
