"""`remora graph`: who talks to whom, from the embedded store."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from remora.commands.options import OutputOption, StateOption, seconds
from remora.output import Format

EPILOG = "Example: remora graph --window 5m"


def graph(
    state: StateOption,
    window: Annotated[str, typer.Option("--window", help="Over the last 30s, 5m, 1h.", metavar="TIME")] = "1m",
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the traffic between workloads: rate, errors, latency, mutual TLS."""
    from remora.commands.store import opened
    from remora.output import print_data, print_table

    window_s = seconds(window, "--window")
    with opened(state) as reader:
        answer = reader.graph(time.time(), window_s)  # noqa: TID251 - the command is a process's edge
    if output is not Format.TABLE:
        print_data(asdict(answer), output)
        return
    rows = [
        (
            edge.source,
            edge.destination,
            f"{edge.requests_per_s:.2f}" if edge.requests_per_s else None,
            f"{edge.bytes_per_s:.0f}" if edge.bytes_per_s else None,
            f"{edge.error_rate:.1%}" if edge.requests_per_s else None,
            f"{edge.p50_ms:.1f}" if edge.p50_ms is not None else None,
            f"{edge.p99_ms:.1f}" if edge.p99_ms is not None else None,
            edge.mtls,
            edge.protocol,
        )
        for edge in answer.edges
    ]
    headers = ("FROM", "TO", "REQUESTS/S", "TCP B/S", "ERRORS", "P50 MS", "P99 MS", "MTLS", "PROTOCOL")
    print_table(headers, rows, empty=f"no traffic in the last {window}")
