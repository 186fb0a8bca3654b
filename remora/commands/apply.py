"""`remora apply`: store traffic rules, all of a call or none."""

from typing import Annotated

import typer

from remora.commands.options import FilesOption, StateOption

EPILOG = "Example: remora apply -f reviews.yaml"


def apply(
    state: StateOption,
    files: FilesOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and say what would change, store nothing.")] = False,
) -> None:
    """Store traffic rules: all that are named, or none.

    Istio's YAML is taken as it is. What is wrong is printed as `file:line: kind/name: field: reason`, exit status 1.
    """
    from remora import documents
    from remora.client import Control, violation_text
    from remora.output import print_error, print_line
    from remora.state import State

    read = documents.read(files)
    with Control(State(state)) as control:
        answer = control.apply(read, dry_run=dry_run)
    for warning in answer.get("warnings", ()):
        print_error(violation_text(warning | {"severity": "warning"}))
    for change in answer["changes"]:
        print_line(change_text(change) + (" (dry run)" if dry_run else ""))


def change_text(change: dict[str, str]) -> str:
    """`Kind/name action`, with the namespace where it is not the default one."""
    namespace = change.get("namespace", "default")
    inside = "" if namespace in ("default", "") else f" in namespace {namespace}"
    return f"{change['kind']}/{change['name']}{inside} {change['action']}"
