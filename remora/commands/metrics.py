"""`remora metrics`: rate, errors and latency of services and workloads, or a metric's readings, from the store."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remora.commands.options import OutputOption, StateOption, seconds
from remora.output import Format

if TYPE_CHECKING:
    from collectors.store.answers import Example, ExemplarEntry, Series, ServiceSummary, WorkloadSummary
    from collectors.store.reader import Reader

HELP = "Show rates, errors and latency (`remora metrics` alone is `remora metrics show`), and what Prometheus needs."

EPILOG = (
    "Examples: remora metrics --window 5m\n\nremora metrics reviews --workloads\n\n"
    "remora metrics --series istio_requests_total --label reporter=source --label response_code=503"
)
MAX_SERIES = 1_000


def metrics(
    state: StateOption,
    name: Annotated[
        str, typer.Argument(help="Only services or workloads with this in their name.", show_default=False)
    ] = "",
    workloads: Annotated[bool, typer.Option("--workloads", help="By workload instead of by service.")] = False,
    series: Annotated[
        str | None, typer.Option("--series", help="The series of this metric instead.", metavar="METRIC")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="With --series: only with this label. Repeatable.", metavar="K=V"),
    ] = None,
    window: Annotated[str, typer.Option("--window", help="Over the last 30s, 5m, 1h.", metavar="TIME")] = "5m",
    output: OutputOption = Format.TABLE,
) -> None:
    """Show requests per second, share of errors and latency; and traces: the slowest, the last that failed."""
    from remora.commands.store import opened
    from remora.output import print_data

    window_s = seconds(window, "--window")
    labels = _labels(label or [])
    if labels and series is None:
        raise typer.BadParameter("belongs to --series", param_hint="--label")
    now = time.time()  # noqa: TID251 - the command is a process's edge
    with opened(state) as reader:
        if series is not None:
            found = reader.series(series, labels, since=now - window_s, limit=MAX_SERIES)
            shown = reader.exemplars(series, labels, since=now - window_s, until=now, limit=MAX_SERIES)
            _print_series(found, shown, series, window, output)
            return
        lines = _workloads(reader, now, window_s) if workloads else _services(reader, now, window_s)
    others = [line["name"] for line in lines]
    lines = [line for line in lines if name in line["name"]]
    if output is not Format.TABLE:
        print_data(lines, output)
        return
    empty = f"no traffic in the last {window}"
    if others:
        what = "workload" if workloads else "service"
        more = "" if workloads else "; by workload: --workloads"
        empty = (
            f"no {what} with {name} in its name had traffic in the last {window}; there are {', '.join(others)}{more}"
        )
    _print_lines(lines, "WORKLOAD" if workloads else "SERVICE", empty)


def _services(reader: "Reader", now: float, window_s: float) -> list[dict[str, Any]]:
    slow, failed = _examples(reader.examples(now - window_s, now), "service")
    return [_line(one, slow.get(one.name), failed.get(one.name)) for one in reader.services(now, window_s)]


def _workloads(reader: "Reader", now: float, window_s: float) -> list[dict[str, Any]]:
    slow, failed = _examples(reader.examples(now - window_s, now), "workload")
    return [
        {"name": one.workload} | _line(one, slow.get(one.workload), failed.get(one.workload))
        for one in reader.workloads(now, window_s)
    ]


def _examples(examples: "Iterable[Example]", key: str) -> tuple[dict[str, str], dict[str, str]]:
    """Trace ids by name: the slowest, and one that failed."""
    slow: dict[str, tuple[float, str]] = {}
    failed: dict[str, str] = {}
    for one in examples:
        name = getattr(one, key)
        slow[name] = max(slow.get(name, (-1.0, "")), (one.slowest_ms, one.slowest_trace))
        if one.failed_trace is not None:
            failed[name] = one.failed_trace
    return {name: trace for name, (_, trace) in slow.items()}, failed


def _line(one: "ServiceSummary | WorkloadSummary", slow: str | None, failed: str | None) -> dict[str, Any]:
    return asdict(one) | {"slowest_trace": slow, "failed_trace": failed}


def _print_lines(lines: Sequence[dict[str, Any]], what: str, empty: str) -> None:
    from remora.output import print_table

    def ms(value: float | None) -> str | None:
        return None if value is None else f"{value:.1f}"

    rows = [
        (
            line["name"],
            line["namespace"],
            ", ".join(line["versions"]) if "versions" in line else line["version"],
            f"{line['requests_per_s']:.2f}" if line["requests_per_s"] else None,
            f"{line['bytes_per_s']:.0f}" if line["bytes_per_s"] else None,
            f"{line['error_rate']:.1%}" if line["requests_per_s"] else None,
            ms(line["p50_ms"]),
            ms(line["p99_ms"]),
            line["mtls"],
            line["slowest_trace"],
            line["failed_trace"],
        )
        for line in lines
    ]
    headers = (
        what, "NAMESPACE", "VERSIONS", "REQUESTS/S", "TCP B/S", "ERRORS", "P50 MS", "P99 MS", "MTLS", "SLOWEST TRACE",
        "FAILED TRACE",
    )  # fmt: skip
    print_table(headers, rows, empty=empty)
    sys.stdout.flush()


def _print_series(
    found: "Sequence[Series]", exemplars: "Sequence[ExemplarEntry]", name: str, window: str, output: Format
) -> None:
    """`exemplars`: of histograms, the largest values first."""
    from remora.output import print_data, print_table

    if output is not Format.TABLE:
        print_data([asdict(one) | {"exemplars": _exemplars_of(one, exemplars)} for one in found], output)
        return
    rows = [
        (
            one.points[-1][1],
            f"{one.points[-1][1] - one.points[0][1]:+g}",
            len(one.points),
            ",".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
            *([] if not exemplars else [next((each["trace_id"] for each in _exemplars_of(one, exemplars)), None)]),
        )
        for one in found
    ]
    headers = ("LAST", "CHANGE", "READINGS", "LABELS", *(["SLOWEST EXAMPLE"] if exemplars else []))
    print_table(headers, rows, empty=f"no reading of {name} in the last {window}")
    sys.stdout.flush()


def _exemplars_of(series: "Series", exemplars: "Sequence[ExemplarEntry]") -> list[dict[str, Any]]:
    """Those that a series counts: a bucket's are not larger than its bound."""
    plain = {key: value for key, value in series.labels.items() if key != "le"}
    most = float(series.labels.get("le", "inf"))
    return [
        {"value": one.value, "time": one.time, "trace_id": one.trace_id}
        for one in exemplars
        if one.labels == plain and one.value <= most
    ]


def _labels(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is no label: NAME=VALUE", param_hint="--label")
        found[key] = value
    return found
