"""`remora delete`: remove stored rules, by file or by name."""

from typing import Annotated

import typer

from remora.commands.apply import change_text
from remora.commands.options import StateOption

EPILOG = "Examples: remora delete -f reviews.yaml\n\nremora delete VirtualService reviews"


def delete(
    state: StateOption,
    kind: Annotated[str | None, typer.Argument(help="Kind, e.g. VirtualService or vs.", show_default=False)] = None,
    names: Annotated[list[str] | None, typer.Argument(help="Names of that kind.", show_default=False)] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Files that name the rules: a file, a directory, or -.", metavar="FILE"),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of NAMES.")] = "default",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, remove nothing.")] = False,
) -> None:
    """Remove stored rules: all that are named, or none.

    Of what a file says, kind, namespace and name count: its rules need not be valid any more. What other rules still
    refer to can not be removed before them; the answer says who does.
    """
    if bool(files) == bool(kind) or bool(kind) != bool(names):
        raise typer.BadParameter("name the rules either as KIND NAME... or with -f FILE")
    from remora import documents
    from remora.client import Control
    from remora.output import print_line
    from remora.state import State

    read = documents.read(files) if files else []
    with Control(State(state)) as control:
        if kind and names:
            answer = control.delete_named(kind, namespace, names, dry_run=dry_run)
        else:
            answer = control.delete(read, dry_run=dry_run)
    for change in answer["changes"]:
        print_line(change_text(change) + (" (dry run)" if dry_run else ""))
