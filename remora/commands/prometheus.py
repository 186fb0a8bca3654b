"""`remora metrics prometheus-config` and `remora metrics cardinality`: what Prometheus needs to know of the mesh, and
what there is too much of."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.addresses import parse_host_port
from remora.commands.options import OutputOption, StateOption, seconds
from remora.failure import Failure, NoMesh
from remora.output import Format
from remora.state import State

CONFIG_EPILOG = (
    "Examples: remora metrics prometheus-config > prometheus.yml\n\n"
    "remora metrics prometheus-config --to /tmp/prometheus --alertmanager 127.0.0.1:9093 && "
    "prometheus --config.file=/tmp/prometheus/prometheus.yml --enable-feature=exemplar-storage"
)
CARDINALITY_EPILOG = "Example: remora metrics cardinality --limit 5"

_TIMEOUT_S = 30.0
_RULES = "rules"


def prometheus_config(
    state: StateOption,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Write it there, with rules and alertmanager.yml beside it.", metavar="DIR"),
    ] = None,
    interval: Annotated[str, typer.Option("--interval", help="Between scrapes.", metavar="TIME")] = "15s",
    alertmanager: Annotated[
        list[str] | None, typer.Option("--alertmanager", help="Repeatable.", metavar="HOST:PORT")
    ] = None,
    node_exporter: Annotated[
        list[str] | None, typer.Option("--node-exporter", help="One that runs. Repeatable.", metavar="HOST:PORT")
    ] = None,
    kube_state_metrics: Annotated[
        list[str] | None, typer.Option("--kube-state-metrics", help="One that runs. Repeatable.", metavar="HOST:PORT")
    ] = None,
) -> None:
    """Print a Prometheus configuration that finds everything in the mesh by HTTP service discovery."""
    from dashboards.alerts.alertmanager import Receivers
    from dashboards.alerts.files import files
    from dashboards.alerts.objectives import Objectives
    from dashboards.alerts.scraping import Scraping, render_prometheus

    interval_s = seconds(interval, "--interval")
    if not 0.1 <= interval_s <= 300:
        raise typer.BadParameter("must be 100ms to 5m: rates are of five minutes", param_hint="--interval")
    alertmanagers = _addresses(alertmanager, "--alertmanager")
    node_exporters = _addresses(node_exporter, "--node-exporter")
    kube_state = _addresses(kube_state_metrics, "--kube-state-metrics")
    mesh = State(state)
    scraping = Scraping(
        rest=str(mesh.read_control()["rest"]),
        root=mesh.root.absolute(),
        token_file=mesh.prometheus_token.absolute(),
        interval_s=interval_s,
        refresh_s=min(15.0, interval_s),
        rule_files="" if to is None else str(to.absolute() / _RULES / "*.yml"),
        alertmanagers=alertmanagers,
        node_exporters=node_exporters,
        kube_state_metrics=kube_state,
    )
    text = render_prometheus(scraping)
    if to is None:
        sys.stdout.write(text)
        return
    from remora.output import print_line

    made = files(Objectives(), Receivers())
    try:
        (to / _RULES).mkdir(parents=True, exist_ok=True)
        (to / "prometheus.yml").write_text(text, "utf-8")
        for name, content in made.items():
            (to / name if name == "alertmanager.yml" else to / _RULES / name).write_text(content, "utf-8")
        rules = sum(name != "alertmanager.yml" for name in made)
        print_line(f"{to / 'prometheus.yml'}, {rules} files of rules in {to / _RULES}, {to / 'alertmanager.yml'}")
        if not alertmanager:
            print_line("No Alertmanager is told of what they find: give --alertmanager HOST:PORT.")
    except OSError as error:
        raise Failure(f"cannot write to {to}: {error.strerror}") from error


def cardinality(
    state: StateOption,
    limit: Annotated[int, typer.Option("--limit", help="The worst so many metrics.", metavar="N", min=1, max=100)] = 10,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show which metrics have the most series, and which of their labels are to blame."""
    from remora.output import print_data, print_line, print_table

    report = _report(State(state))
    if output is not Format.TABLE:
        print_data(report, output)
        return
    for name, guard in report.items():
        bounds = guard["bounds"]
        if len(report) > 1:
            print_line(f"{name}:")
        print_line(
            f"{guard['series']} series of at most {bounds['series']}; of one target at most {bounds['target']}, "
            f"of one metric {bounds['metric']}; dropped: {sum(guard['dropped'].values())} samples"
        )
        rows = [
            (
                metric["name"] if index == 0 else None,
                metric["series"] if index == 0 else None,
                metric["dropped"] if index == 0 else None,
                label["label"],
                label["values"],
                ", ".join(label["examples"][:3]),
            )
            for metric in guard["metrics"][:limit]
            for index, label in enumerate(metric["labels"][:3])
        ]
        print_table(("METRIC", "SERIES", "DROPPED", "LABEL", "VALUES", "EXAMPLES"), rows, empty="no series yet")


def _report(mesh: State) -> dict[str, Any]:
    """Raises NoMesh, Failure."""
    import httpx

    try:
        address = json.loads(mesh.collector.read_bytes())["health"]
    except FileNotFoundError:
        raise NoMesh(f"no collector runs with state {mesh.directory}: start a mesh with `remora up`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"cannot read {mesh.collector}: {error}") from error
    try:
        answer = httpx.get(f"http://{address}/cardinality", trust_env=False, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Failure(f"the collector at {address} does not answer: {error}") from error
    return found


def _addresses(given: list[str] | None, option: str) -> tuple[str, ...]:
    for text in given or ():
        try:
            _, port = parse_host_port(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=option) from error
        if port == 0:
            raise typer.BadParameter(f"{text!r}: port 0 cannot be connected to", param_hint=option)
    return tuple(given or ())
