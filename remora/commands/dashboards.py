"""`remora dashboards push|build|check`: Grafana's dashboards and data sources for the mesh."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remora.commands.options import OutputOption
from remora.output import Format

if TYPE_CHECKING:
    from dashboards.grafana.datasources import Sources
    from dashboards.grafana.push import Result

HELP = "Put the mesh's dashboards and data sources into Grafana, or into files for its provisioning."

PUSH_EPILOG = (
    "Example: remora dashboards push --grafana https://grafana:3000 --token-file grafana.token "
    "--prometheus http://prometheus:9090 --elasticsearch http://elasticsearch:9200 --jaeger http://collector:16686"
)
BUILD_EPILOG = "Example: remora dashboards build /etc/grafana --prometheus http://prometheus:9090"
CHECK_EPILOG = "Example: remora dashboards check --prometheus http://127.0.0.1:9090"

_SOURCE = "URL by which Grafana reaches it; none: no such data source."

PrometheusOption = Annotated[str | None, typer.Option("--prometheus", help=_SOURCE, metavar="URL")]
ElasticsearchOption = Annotated[str | None, typer.Option("--elasticsearch", help=_SOURCE, metavar="URL")]
JaegerOption = Annotated[str | None, typer.Option("--jaeger", help=_SOURCE, metavar="URL")]
IntervalOption = Annotated[
    str, typer.Option("--scrape-interval", help="At which Prometheus scrapes the mesh.", metavar="TIME")
]
FolderOption = Annotated[
    str, typer.Option("--folder", help="Title of the dashboards' folder; its uid follows from it.", metavar="TITLE")
]


def push(
    grafana: Annotated[str, typer.Option("--grafana", help="Address of Grafana.", metavar="URL")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A service account's token, mode 0600.", metavar="FILE")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Authorities of Grafana's certificate.", metavar="FILE")
    ] = None,
    prometheus: PrometheusOption = None,
    elasticsearch: ElasticsearchOption = None,
    jaeger: JaegerOption = None,
    scrape_interval: IntervalOption = "15s",
    folder: FolderOption = "Remora",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Take back what somebody changed in Grafana by hand.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> int:
    """Put dashboards and data sources into a running Grafana. Again, it changes nothing.

    What somebody changed there stays as it is. Exit status 1 if that kept something of ours away.
    """
    from dashboards.grafana.push import Action
    from remora.grafana import Target, push_all

    sources = _sources(prometheus, elasticsearch, jaeger, scrape_interval)
    results = push_all(Target(grafana, token_file, ca_file), sources, folder, overwrite=overwrite)
    _print_results(results, output)
    return 1 if any(result.action is Action.CONFLICT for result in results) else 0


def build(
    directory: Annotated[Path, typer.Argument(help="Where the files go.", metavar="DIR")],
    prometheus: PrometheusOption = None,
    elasticsearch: ElasticsearchOption = None,
    jaeger: JaegerOption = None,
    scrape_interval: IntervalOption = "15s",
    folder: FolderOption = "Remora",
    path: Annotated[
        str | None,
        typer.Option(
            "--path", help="Where Grafana finds the dashboards' files. Default: DIR/dashboards.", metavar="PATH"
        ),
    ] = None,
) -> None:
    """Write files for Grafana's provisioning: dashboards/, provisioning/dashboards/, provisioning/datasources/."""
    from dashboards.grafana.folder import BadFolder, Folder
    from dashboards.grafana.provisioning import DASHBOARDS, provisioning, write
    from remora.failure import Failure
    from remora.output import print_line

    sources = _sources(prometheus, elasticsearch, jaeger, scrape_interval)
    try:
        place = Folder(folder)
    except BadFolder as error:
        raise typer.BadParameter(str(error), param_hint="--folder") from error
    files = provisioning(sources, place, path=path or str((directory / DASHBOARDS).absolute()))
    try:
        written = write(files, directory)
    except OSError as error:
        raise Failure(f"cannot write {error.filename or directory}: {error.strerror}") from error
    for each in written:
        print_line(str(each))


def check(
    prometheus: Annotated[
        str | None,
        typer.Option("--prometheus", help="Ask this Prometheus every expression of every panel.", metavar="URL"),
    ] = None,
    window: Annotated[
        str, typer.Option("--window", help="Of rates: at least four scrapes.", metavar="TIME", show_default=True)
    ] = "1m",
) -> int:
    """Check that every panel has title, description, unit and legend, and, with --prometheus, that it finds data."""
    from dashboards.grafana.check import complaints
    from dashboards.grafana.files import committed
    from remora.output import print_error, print_line

    dashboards = committed()
    faults = [fault for dashboard in dashboards.values() for fault in complaints(dashboard)]
    if prometheus is not None:
        faults += _evaluated(prometheus, window)
    for fault in faults:
        print_error(fault)
    if not faults:
        print_line(f"{len(dashboards)} dashboards: no fault")
    return 1 if faults else 0


def _evaluated(url: str, window: str) -> list[str]:
    from dashboards.grafana.boards import BOARDS
    from dashboards.grafana.evaluate import evaluate
    from dashboards.grafana.prometheus import HttpPrometheus, PrometheusUnreachable
    from remora.commands.options import seconds
    from remora.failure import Failure

    seconds(window, "--window")
    prometheus = HttpPrometheus(url)
    try:
        return [str(finding) for finding in evaluate(prometheus, BOARDS, window=window)]
    except PrometheusUnreachable as error:
        raise Failure(f"no answer of Prometheus: {error}") from error
    finally:
        prometheus.close()


def _sources(prometheus: str | None, elasticsearch: str | None, jaeger: str | None, scrape_interval: str) -> "Sources":
    from dashboards.grafana.datasources import Sources
    from remora.commands.options import seconds

    seconds(scrape_interval, "--scrape-interval")
    for name, url in (("--prometheus", prometheus), ("--elasticsearch", elasticsearch), ("--jaeger", jaeger)):
        if url is not None and not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{url!r} is no address: http://HOST:PORT", param_hint=name)
    return Sources(prometheus, elasticsearch, jaeger, scrape_interval)


def _print_results(results: "Sequence[Result]", output: Format) -> None:
    from remora.output import print_data, print_table

    if output is Format.TABLE:
        headers = ("ACTION", "KIND", "NAME", "UID", "WHY")
        rows = [(each.action.value, each.kind, each.name, each.uid, each.why) for each in results]
        print_table(headers, rows, empty="nothing to push")
    else:
        print_data([each._asdict() | {"action": each.action.value} for each in results], output)
    sys.stdout.flush()
