"""`remora run`: any process as a workload of the running mesh."""

import sys
from typing import Annotated, Any

import typer

from remora.commands.options import StateOption

EPILOG = (
    "Examples: remora run --service shop --version v2 --port 8000 -- python app.py\n\n"
    "remora run --service cache --port 6379 --protocol redis -- redis-server\n\n"
    "remora run --service reader --tcp-upstream cache:6379=7379 -- redis-cli -p 7379"
)
PROTOCOLS = ("auto", "grpc", "grpc-web", "http", "http2", "https", "mongo", "mysql", "redis", "tcp", "tls")
CONTEXT: dict[str, Any] = {"allow_interspersed_args": False}


def run(
    state: StateOption,
    service: Annotated[str, typer.Option(help="Service that the process is an instance of.", metavar="NAME")],
    command: Annotated[list[str], typer.Argument(help="What to run, after `--`.", metavar="COMMAND...")],
    port: Annotated[
        int | None,
        typer.Option(
            help="Port that the process listens on, on loopback; none for a client.", min=1, max=65535, metavar="PORT"
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help=f"What it speaks there: {', '.join(PROTOCOLS)}.", metavar="NAME")
    ] = "http",
    tcp_upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="A service's port that it finds at 127.0.0.1:LOCALPORT, over mutual TLS; may be given again.",
            metavar="SERVICE:PORT=LOCALPORT",
        ),
    ] = None,
    https_proxy: Annotated[
        bool,
        typer.Option(
            "--https-proxy",
            help="Set HTTPS_PROXY too: https:// goes through the sidecar, to hosts that the mesh knows.",
        ),
    ] = False,
    version: Annotated[str, typer.Option(help="Version, for subsets of a DestinationRule.", metavar="NAME")] = "v1",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the service.", metavar="NAME")
    ] = "default",
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

    It reaches HTTP services by name through HTTP_PROXY, and others (gRPC, Redis, anything) at the local ports that
    --tcp-upstream gives them; they reach it as SERVICE:PORT. All of it over mutual TLS. The exit status is the
    command's; at its end the workload is taken out of the mesh.
    """
    if protocol not in PROTOCOLS:
        raise typer.BadParameter(f"{protocol!r} is none of {', '.join(PROTOCOLS)}", param_hint="--protocol")
    upstreams = tuple(_tcp_upstream(text) for text in tcp_upstream or ())
    from remora.state import State
    from remora.up.guest import Guest, host
    from remora.up.sidecar import TcpUpstream, Workload

    workload = Workload(
        name=name or f"{service}-{version}",
        namespace=namespace,
        service=service if port is not None else None,
        version=version,
        service_account=service_account or service,
        service_port=service_port or port or 0,
        app=None if port is None else f"127.0.0.1:{port}",
        protocol=protocol,
        tcp_upstreams=tuple(TcpUpstream(*each) for each in upstreams),
        labels={"app": service, "version": version},
    )
    sys.stdout.flush()
    raise typer.Exit(host(State(state), Guest(workload, tuple(command), https_proxy)))


def _tcp_upstream(text: str) -> tuple[str, int, int]:
    """`cache:6379=7379` as its parts. Raises typer.BadParameter."""
    there, equals, local = text.rpartition("=")
    service, colon, port = there.rpartition(":")
    numbers = [int(each) for each in (port, local) if each.isascii() and each.isdigit() and len(each) <= 5]
    if not (equals and colon and service) or len(numbers) != 2 or not all(0 < number < 65_536 for number in numbers):
        raise typer.BadParameter(f"{text!r}: write SERVICE:PORT=LOCALPORT", param_hint="--tcp-upstream")
    return service, numbers[0], numbers[1]
