"""Options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mesh.state_directory import default_state
from remora.output import Format


def _directory(text: str) -> Path:
    # The empty path is where the user stands: `--state "$UNSET"` would scatter a mesh's state there.
    # Whether it can be read is State's to find out: that is no wrong use, but an answer.
    if not text:
        raise typer.BadParameter("is empty; name a directory")
    return Path(text)


StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="REMORA_STATE",
        help="The mesh's state directory.",
        metavar="DIR",
        parser=_directory,
        default_factory=default_state,
        show_default="~/.local/state/remora",
    ),
]

FilesOption = Annotated[
    list[str],
    typer.Option(
        "--file", "-f", help="Rules: a file, a directory, or - for standard input. Repeatable.", metavar="FILE"
    ),
]

NamespaceOption = Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.", metavar="NAME")]

OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to show the answer.")]

SinceOption = Annotated[str, typer.Option("--since", help="How far back: 30s, 10m, 2h, 7d.", metavar="TIME")]

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str, option: str) -> float:
    """`10m` -> 600.0. Raises typer.BadParameter for what is no length of time."""
    match = _LENGTH.match(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no length of time such as 30s, 10m, 2h or 7d", param_hint=option)
    return float(match[1]) * _UNIT_S[match[2]]
