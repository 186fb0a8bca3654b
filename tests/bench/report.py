"""Figures as JSON for machines and as a table for docs/benchmarks.md."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cases import CONNECTIONS, Plan
from tests.bench.measure import Run, median

BEGIN = "<!-- figures: written by `make bench`, not by hand -->"
END = "<!-- end of figures -->"

_BUSY = 0.05
_PACED = 0.98


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    date: str
    cpu: str
    kernel: str
    versions: Mapping[str, str]


Results = Mapping[tuple[str, str], Sequence[Run]]
"""(case, system) -> runs."""


def rows(results: Results) -> list[dict[str, Any]]:
    """Medians, with the ratio to Envoy's CPU where Envoy was measured in the same case (else None)."""
    medians = {key: median(runs) for key, runs in results.items()}
    table: list[dict[str, Any]] = []
    for (case, system), run in medians.items():
        envoy = medians.get((case, "envoy"))
        table.append(
            {
                "case": case,
                "system": system,
                "rps": round(run.rps),
                "cpu_us": round(run.cpu_us, 1),
                "p50_ms": round(run.p50_ms, 3),
                "p99_ms": round(run.p99_ms, 3),
                "rss_mib": round(run.rss_mib, 1),
                "cpu_ratio_to_envoy": None if envoy is None else round(run.cpu_us / envoy.cpu_us, 3),
            }
        )
    return table


def write_json(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows(results), indent=2) + "\n")


def markdown(results: Results, plan: Plan, machine: Machine) -> str:
    """The table, and how it came about."""
    lines = [
        f"Measured {machine.date} on {machine.cpu}, Linux {machine.kernel}; {CONNECTIONS} connections, median of"
        f" {plan.rounds} interleaved runs of {plan.saturated_s} s. Latency at {plan.rate:,} requests per second.",
        "",
        "| case | system | requests/s | CPU µs/request | of Envoy's | range | p50 ms | p99 ms | RSS MiB per hop |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows(results):
        costs = [run.cpu_us for run in results[row["case"], row["system"]]]
        ratio = row["cpu_ratio_to_envoy"]
        lines.append(
            f"| {row['case']} | {row['system']} | {row['rps']:,} | {row['cpu_us']:.1f} |"
            f" {'' if ratio is None else f'{ratio:.2f}'} | {min(costs):.1f}–{max(costs):.1f} |"
            f" {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['rss_mib']:.0f} |"
        )
    lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in machine.versions.items()) + "."]
    busiest = max(run.disturbed for runs in results.values() for run in runs)
    if busiest > _BUSY:
        lines += [
            "",
            f"Other programs used up to {busiest:.0%} of the proxies' core meanwhile: take the times with care.",
        ]
    slowest = min(run.achieved for runs in results.values() for run in runs)
    if slowest < _PACED:
        lines += ["", f"Not every run kept the fixed rate; the slowest made {slowest:.0%} of it."]
    return "\n".join(lines)


def update_document(path: Path, text: str) -> None:
    """Put the figures between the markers. Raises ValueError if the document has lost them."""
    document = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path} lacks the markers {BEGIN} and {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", document))
