"""`remora up`: the whole mesh on this machine."""

from pathlib import Path
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
    elasticsearch: Annotated[
        str | None,
        typer.Option(help="Send logs and traces there too, to data streams logs-remora.*.", metavar="URL"),
    ] = None,
    elasticsearch_api_key: Annotated[
        Path | None, typer.Option(help="File with an API key for it, of mode 0600.", metavar="FILE")
    ] = None,
    collector_config: Annotated[
        Path | None,
        typer.Option(
            help="The collector's settings (docs/collectors.md), in place of its own: receivers, processors, routes, "
            "exporters. Checked before anything starts.",
            metavar="FILE",
        ),
    ] = None,
    grafana: Annotated[
        str | None, typer.Option(help="Put dashboards and data sources into this Grafana.", metavar="URL")
    ] = None,
    grafana_token: Annotated[
        Path | None, typer.Option(help="File with a service account's token for it, of mode 0600.", metavar="FILE")
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(help="The Prometheus that scrapes this mesh: a data source for --grafana.", metavar="URL"),
    ] = None,
) -> None:
    """Bring up the mesh on this machine: control plane, collector, console, and Bookinfo behind sidecars.

    It runs until Ctrl-C. Rules and telemetry are kept in the state directory for the next time.
    """
    from remora.grafana import Target
    from remora.up.back_ends import Elasticsearch
    from remora.up.grafana import Grafana
    from remora.up.options import Options
    from remora.up.supervisor import run

    if elasticsearch_api_key is not None and elasticsearch is None:
        raise typer.BadParameter("needs --elasticsearch", param_hint="--elasticsearch-api-key")

    if collector_config is not None and elasticsearch is not None:
        raise typer.BadParameter(
            "does not go with --elasticsearch, since nothing is merged: write exporters of types elasticsearch and "
            "jaeger into the file",
            param_hint="--collector-config",
        )

    for option, given in (("--grafana-token", grafana_token), ("--prometheus", prometheus)):
        if given is not None and grafana is None:
            raise typer.BadParameter("needs --grafana", param_hint=option)

    run(
        Options(
            state=state,
            samples=samples,
            load=load,
            seconds=for_s,
            console_port=console_port,
            ingress_port=ingress_port,
            elasticsearch=None if elasticsearch is None else Elasticsearch(elasticsearch, elasticsearch_api_key),
            collector_config=collector_config,
            grafana=None if grafana is None else Grafana(Target(grafana, grafana_token), prometheus, elasticsearch),
        ),
        as_json=as_json,
    )
