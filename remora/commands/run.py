"""`remora run`: any process as a workload of the running mesh."""

import sys
from typing import Annotated, Any

import typer

from remora.commands.options import StateOption

EPILOG = "Example: remora run --service shop --version v2 --port 8000 -- python app.py"
CONTEXT: dict[str, Any] = {"allow_interspersed_args": False}


def run(
    state: StateOption,
    service: Annotated[str, typer.Option(help="Service that the process is an instance of.", metavar="NAME")],
    port: Annotated[int, typer.Option(help="Port that the process listens on, on loopback.", min=1, max=65535)],
    command: Annotated[list[str], typer.Argument(help="What to run, after `--`.", metavar="COMMAND...")],
    version: Annotated[str, typer.Option(help="Version, for subsets of a DestinationRule.")] = "v1",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the service.")] = "default",
    service_port: Annotated[
        int | None,
        typer.Option(help="Port that others call the service at; PORT without.", min=1, max=65535, metavar="PORT"),
    ] = None,
    service_account: Annotated[
        str | None, typer.Option(help="Part of its identity; SERVICE without.", metavar="NAME")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Workload; SERVICE-VERSION without.", metavar="NAME")] = None,
) -> None:
    """Run a process as a workload of the running mesh, behind a sidecar of its own.

    It reaches the other services by name through HTTP_PROXY, and they reach it as SERVICE:PORT, over mutual TLS. The
    exit status is the command's; at its end the workload is taken out of the mesh.
    """
    from remora.state import State
    from remora.up.guest import Guest, host
    from remora.up.sidecar import Workload

    workload = Workload(
        name=name or f"{service}-{version}",
        namespace=namespace,
        service=service,
        version=version,
        service_account=service_account or service,
        service_port=service_port or port,
        app=f"127.0.0.1:{port}",
        labels={"app": service, "version": version},
    )
    sys.stdout.flush()
    raise typer.Exit(host(State(state), Guest(workload, tuple(command))))
