"""`remora analyze`: every problem of a set of rules, with or without a running mesh."""

from typing import Annotated, Any

import typer

from remora.commands.options import OutputOption, StateOption
from remora.output import Format

EPILOG = "Examples: remora analyze -f rules/\n\nremora analyze          (the stored rules of the running mesh)"


def analyze(
    state: StateOption,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Rules: a file, a directory, or -. Without: what is stored.", metavar="FILE"),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Find every problem in rules: `file:line: kind/name: field: what is wrong and what would be right`.

    With a running mesh, references to what is stored there count; without one, the files stand for themselves.
    Exit status 1 if there is an error; warnings alone are 0.
    """
    from remora import documents
    from remora.client import violation_text
    from remora.output import print_data, print_error, print_line
    from remora.state import State

    read = documents.read(files or [])
    violations = _violations(State(state), read)
    errors = sum(each.get("severity", "error") == "error" for each in violations)
    if output is Format.TABLE:
        for each in violations:
            print_error(violation_text(each))
        if not violations:
            print_line("no problem found")
    else:
        print_data(violations, output)
    if errors:
        raise typer.Exit(1)


def _violations(state: Any, read: Any) -> list[dict[str, Any]]:
    from remora.client import Control
    from remora.failure import NoMesh

    try:
        with Control(state) as control:
            return control.analyze(read)
    except NoMesh:
        if not read:
            raise
    return _locally(read)


def _locally(read: Any) -> list[dict[str, Any]]:
    raise NotImplementedError
