"""`remora up`: the whole mesh on this machine."""

from typing import Annotated

import typer

from remora.commands.options import StateOption

EPILOG = "Examples: remora up\n\nremora up --state /tmp/mesh --json --for 60"


def up(
    state: StateOption,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Let a few visitors look at the samples.")] = True,
    samples: Annotated[
        bool, typer.Option("--samples/--no-samples", help="Run Bookinfo, with its first rules the first time.")
    ] = True,
    for_s: Annotated[
        float | None, typer.Option("--for", help="End after so long, counted from ready.", metavar="SECONDS", min=0)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready, and no more.")] = False,
    console_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the console; 0 for any. Default: 20001 if it is free.", metavar="PORT", min=0, max=65535
        ),
    ] = None,
    ingress_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the way in; 0 for any. Default: 8080 if it is free.", metavar="PORT", min=0, max=65535
        ),
    ] = None,
) -> None:
    """Bring up the mesh on this machine: control plane, collector, console, and Bookinfo behind sidecars.

    It runs until Ctrl-C. Rules and telemetry are kept in the state directory for the next time.
    """
    from remora.up.options import Options
    from remora.up.supervisor import run

    run(
        Options(
            state=state,
            samples=samples,
            load=load,
            seconds=for_s,
            console_port=console_port,
            ingress_port=ingress_port,
        ),
        as_json=as_json,
    )
