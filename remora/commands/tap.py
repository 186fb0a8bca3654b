"""`remora tap`: requests and answers as they pass through a running sidecar."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from remora.commands.options import NamespaceOption, StateOption

EPILOG = (
    "Examples: remora tap reviews-v3 --status 5xx\n\n"
    "remora tap productpage-v1 --path '/reviews/*' --direction outbound -v\n\n"
    "remora tap reviews-v2 -o flow --output slow.flow --max 100, then mitmproxy -r slow.flow\n\n"
    "remora tap reviews-v2 --view\n\n"
    "Credentials in header fields, cookies, queries and forms are redacted unless --show-secrets is given."
)


class TapFormat(StrEnum):
    """How requests are written."""

    TEXT = "text"
    JSON = "json"
    FLOW = "flow"
    HAR = "har"


class DirectionName(StrEnum):
    """A sidecar's two sides, and a gateway's one."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


def tap(
    state: StateOption,
    workload: Annotated[str, typer.Argument(help="Workload, e.g. reviews-v3.", metavar="WORKLOAD")],
    namespace: NamespaceOption = None,
    path: Annotated[
        str | None, typer.Option("--path", help="Paths that begin so, or a glob: '*/reviews/*'.", metavar="PATH")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only this method. Repeatable.", metavar="NAME")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="404, 5xx, 400-499, 0: no answer. Repeatable.", metavar="CODE")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help="NAME, or NAME=GLOB of the value. Repeatable: all.", metavar="NAME=VALUE"),
    ] = None,
    direction: Annotated[
        DirectionName | None, typer.Option("--direction", help="Only this side of the sidecar.")
    ] = None,
    sample: Annotated[
        float, typer.Option("--sample", help="Of the requests that match.", metavar="PERCENT", min=0, max=100)
    ] = 100.0,
    most: Annotated[
        int | None, typer.Option("--max", help="End after so many.", metavar="N", min=1, max=1_000_000)
    ] = None,
    seconds: Annotated[
        float, typer.Option("--for", help="End after so long.", metavar="SECONDS", min=0.1, max=86_400)
    ] = 3600.0,
    max_body: Annotated[
        int, typer.Option("--max-body", help="Keep so much of each body.", metavar="BYTES", min=0, max=16 * 1024 * 1024)
    ] = 64 * 1024,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Redact nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Text: fields and bodies, too.")] = False,
    output: Annotated[TapFormat, typer.Option("--output-format", "-o", help="How to write them.")] = TapFormat.TEXT,
    file: Annotated[
        Path | None, typer.Option("--output", help="Write here instead of standard output.", metavar="FILE")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Show them in mitmweb, live.")] = False,
) -> None:
    """Show requests and answers as they pass through a running sidecar, without slowing them down.

    What its reader is too slow for is dropped and counted. Ctrl-C ends it.
    """
    from remora.client import Control
    from remora.state import State
    from remora.tap.run import Shown, run
    from remora.tap.target import admin_of

    with Control(State(state)) as control:
        admin = admin_of(control, workload, namespace)
    wish = {
        "path": path,
        "methods": method,
        "statuses": status,
        "headers": header,
        "direction": direction.value if direction is not None else None,
        "sample": sample,
        "max": most,
        "seconds": seconds,
        "max_body": max_body,
        "show_secrets": show_secrets,
    }
    given = {name: value for name, value in wish.items() if value is not None and value != []}
    run(admin, given, Shown(output.value, file, view=view, verbose=verbose))
