"""`remora analyze`: every problem of a set of rules, with or without a running mesh."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from remora.commands.options import OutputOption, StateOption
from remora.output import Format

if TYPE_CHECKING:
    from remora.documents import Document
    from remora.state import State

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

    References count to what is stored in the mesh, running or not; where there is none, the files stand for themselves.
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


def _violations(state: "State", read: "list[Document]") -> list[dict[str, Any]]:
    from remora.client import Control
    from remora.failure import NoMesh

    try:
        with Control(state) as control:
            return control.analyze(read)
    except NoMesh:
        if not read:
            raise
    return locally(state, read)


def locally(state: "State", read: "list[Document]") -> list[dict[str, Any]]:
    """The same answer without a control plane: beside what an earlier mesh stored in `state`, if one did."""
    from control.analyze import analyze as find
    from control.api.parse import parse
    from control.api.source import SourceFile
    from control.api.world import World
    from control.stores.errors import StoreError
    from control.stores.files import FileStore
    from remora.failure import Failure

    world = World()
    if (state.directory / "rules").is_dir():
        store = FileStore(state.directory)
        try:
            world = store.open()
        except StoreError as error:
            raise Failure(str(error)) from error
        finally:
            store.close()
    parsed = parse([SourceFile(each.name, each.text) for each in read])
    return [each.to_json() for each in (*parsed.violations, *find(world, parsed))]
