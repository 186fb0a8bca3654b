"""`remora inspect`: the environment that mitmproxy lives in."""

from enum import StrEnum
from typing import Annotated

import typer

from remora.commands.options import OutputOption
from remora.output import Format

EPILOG = (
    "Examples: remora inspect install\n\nremora inspect status -o json\n\n"
    "REMORA_INSPECT=DIR puts the environment elsewhere than ~/.local/share/remora/inspect."
)


class Action(StrEnum):
    """What to do with it."""

    INSTALL = "install"
    STATUS = "status"


def inspect(
    action: Annotated[
        Action, typer.Argument(help="install makes the environment, status says what there is.", metavar="ACTION")
    ],
    output: OutputOption = Format.TABLE,
) -> int:
    """Install mitmproxy beside the mesh: `remora tap -o flow`, `remora tap --view` and addon scripts need it.

    It gets an environment of its own, since it pins versions of libraries that the mesh has newer. Nothing else in
    Remora needs it.
    """
    from mesh.inspection import HOW_TO_INSTALL, Inspection
    from remora.output import print_data, print_error, print_line, print_table

    inspection = Inspection.of_user()
    if action is Action.INSTALL:
        from remora.inspect.install import install

        made = install(inspection, print_error)
        print_error("installed" if made else "is installed already")
    found = inspection.installed()
    shown = {"directory": str(inspection.directory), "installed": found is not None, **(found or {})}
    if output is not Format.TABLE:
        print_data(shown, output)
    elif found is not None:
        headers = ("MITMPROXY", "PYTHON", "DIRECTORY")
        print_table(headers, [(found.get("mitmproxy"), found.get("python"), inspection.directory)], empty="")
    else:
        print_line(HOW_TO_INSTALL)
    return 0 if found is not None else 1
