"""`remora logs`: access logs and other records of the mesh, from the embedded store."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from remora.commands.options import OutputOption, SinceOption, StateOption, seconds
from remora.output import Format

if TYPE_CHECKING:
    from collectors.store.answers import LogEntry

EPILOG = (
    "Examples: remora logs reviews-v3 --since 10m\n\nremora logs --text 'productpage 503'\n\n"
    "remora logs --trace 4bf92f3577b34da6a3ce929d0e0e4736 -o json"
)

POLL_S = 0.5
SEVERITIES = ("error", "warning", "info", "debug")
MAX_AT_ONCE = 10_000
"""Of a followed log, per question."""


def logs(
    state: StateOption,
    workload: Annotated[str | None, typer.Argument(help="Only of this workload.", show_default=False)] = None,
    text: Annotated[str, typer.Option("--text", "-t", help="Full-text search.", metavar="WORDS")] = "",
    trace: Annotated[
        str | None,
        typer.Option("--trace", help="Only of this trace: its id, or the first 8 digits or more.", metavar="ID"),
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", help="Only error, warning, info or debug.", metavar="NAME")
    ] = None,
    since: SinceOption = "1h",
    limit: Annotated[int, typer.Option("--limit", help="The newest so many.", metavar="N", min=1, max=100_000)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what arrives.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the mesh's logs, oldest first. With --follow and -o json: one object a line."""
    from remora.commands.store import opened
    from remora.output import print_error

    length = seconds(since, "--since")
    if severity is not None and severity not in SEVERITIES:
        raise typer.BadParameter(f"{severity!r} is none of {', '.join(SEVERITIES)}", param_hint="--severity")
    with opened(state) as reader:

        def found(most: int, *, from_time: float | None = None, after: int | None = None) -> "list[LogEntry]":
            return reader.logs(
                text=text,
                workload=workload,
                severity=severity,
                trace_id=trace,
                since=from_time,
                after_rowid=after,
                limit=most,
            )

        start = time.time() - length  # noqa: TID251 - the command is a process's edge
        entries = sorted(found(limit, from_time=start), key=lambda entry: (entry.time, entry.rowid))
        _print(entries, output, follow)
        if not entries and not follow and output is Format.TABLE:
            print_error(f"no such record in the last {since}")
        last = max((entry.rowid for entry in entries), default=0)
        while follow:
            time.sleep(POLL_S)
            entries = found(MAX_AT_ONCE, after=last)
            _print(entries, output, follow)
            last = max((entry.rowid for entry in entries), default=last)


def _print(entries: "list[LogEntry]", output: Format, follow: bool) -> None:
    from remora.output import json_text, print_data

    if output is Format.TABLE:
        print_entries(entries)
    elif follow and output is Format.JSON:
        for entry in entries:
            sys.stdout.write(json_text(asdict(entry)) + "\n")
    else:
        print_data([asdict(entry) for entry in entries], output)
    sys.stdout.flush()


def print_entries(entries: "Sequence[LogEntry]") -> None:
    """One line a record, for people."""
    from remora.output import print_line

    for entry in entries:
        stamp = time.strftime("%H:%M:%S", time.localtime(entry.time)) + f".{int(entry.time % 1 * 1000):03d}"
        print_line(f"{stamp}  {entry.severity:<7}  {entry.workload:<20}  {entry.message}")
