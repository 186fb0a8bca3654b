"""Figures as JSON for machines and as tables for docs/benchmarks.md."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cases import CASES, COMPILED, ENVOY, INTERPRETED, Case, Plan, Work
from tests.bench.measure import Figures
from tests.bench.rounds import Results

BEGIN = "<!-- figures: written by `make bench`, not by hand -->"
END = "<!-- end of figures -->"

_BUSY = 0.05
_PACED = 0.98
_CASES = {case.name: case for case in CASES}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    date: str
    cpu: str
    kernel: str
    versions: Mapping[str, str]


def rows(results: Results) -> list[dict[str, Any]]:
    """Medians and their ratios to Envoy's in the same case. None: not measured there."""
    return [
        _row(_CASES[case], system, figures, results.get((case, ENVOY))) for (case, system), figures in results.items()
    ]


def _row(case: Case, system: str, figures: Figures, envoy: Figures | None) -> dict[str, Any]:
    """`rps`: requests or messages per second. `cpu_us`: per request, or message, or MiB carried."""
    row: dict[str, Any] = dict.fromkeys(_KEYS) | {"case": case.name, "system": system}
    if figures.idle is not None:
        children = figures.idle.children_mib
        row["rss_mib"] = round(figures.idle.root_mib + children, 1)
        if system in (COMPILED, INTERPRETED):
            row |= {"agent_mib": round(figures.idle.root_mib, 1), "worker_mib": round(children, 1)}
        return row
    per_s, cpu_us = figures.median(lambda run: run.per_s), figures.median(lambda run: run.cpu_us)
    row |= {"cpu_us": round(cpu_us, 1), "rss_mib": round(figures.median(lambda run: run.rss_mib), 1)}
    if case.work is Work.BULK:
        row |= {"gbit_s": round(per_s * 8 / 1e9, 2), "mb_per_cpu_s": round(2**20 / cpu_us)}
    else:
        row["rps"] = round(per_s)
    p50_ms, p99_ms = (figures.paced_median(of) for of in (lambda run: run.p50_ms, lambda run: run.p99_ms))
    if p50_ms is not None and p99_ms is not None and figures.rate is not None:
        row |= {"p50_ms": round(p50_ms, 3), "p99_ms": round(p99_ms, 3), "rate": round(figures.rate)}
    if envoy is not None:
        row["cpu_ratio_to_envoy"] = round(cpu_us / envoy.median(lambda run: run.cpu_us), 3)
        row["throughput_ratio_to_envoy"] = round(per_s / envoy.median(lambda run: run.per_s), 3)
        others = envoy.paced_median(lambda run: run.p99_ms)
        row["p99_ratio_to_envoy"] = round(p99_ms / others, 3) if p99_ms is not None and others else None
    return row


_KEYS = (
    "case", "system", "rps", "cpu_us", "p50_ms", "p99_ms", "rss_mib", "cpu_ratio_to_envoy", "rate",
    "p99_ratio_to_envoy", "throughput_ratio_to_envoy", "gbit_s", "mb_per_cpu_s", "agent_mib", "worker_mib",
)  # fmt: skip
"""Of every row, in this order."""


def write_json(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows(results), indent=2) + "\n")


def markdown(results: Results, plan: Plan, machine: Machine) -> str:
    """A table for each kind of work, and how they came about."""
    table = rows(results)
    kinds = {work: [row for row in table if _CASES[row["case"]].work is work] for work in Work}
    lines = [
        f"Measured {machine.date} on {machine.cpu}, Linux {machine.kernel}; median of {plan.rounds} interleaved runs"
        f" ({plan.witness_rounds} for what is only compared with) of {plan.saturated_s} s. Latency at half of what"
        " Envoy does at most in the same case.",
    ]
    if kinds[Work.REQUESTS]:
        lines += _requests(kinds[Work.REQUESTS], results)
    if kinds[Work.BULK]:
        lines += _bulk(kinds[Work.BULK])
    if kinds[Work.ECHO]:
        lines += _echo(kinds[Work.ECHO])
    if kinds[Work.NOTHING]:
        lines += _idle(kinds[Work.NOTHING])
    lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in machine.versions.items()) + "."]
    return "\n".join(lines + _caveats(results))


def _requests(table: list[dict[str, Any]], results: Results) -> list[str]:
    lines = [
        "",
        "| case | system | requests/s | CPU µs/request | of Envoy's | range | at rate | p50 ms | p99 ms | of Envoy's |"
        " RSS MiB per hop |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in table:
        costs = [run.cpu_us for run in results[row["case"], row["system"]].runs]
        lines.append(
            f"| {row['case']} | {row['system']} | {row['rps']:,} | {row['cpu_us']:.1f} |"
            f" {_or_nothing(row['cpu_ratio_to_envoy'])} | {min(costs):.1f}–{max(costs):.1f} |"
            f" {_or_nothing(row['rate'], ',')} | {_or_nothing(row['p50_ms'])} | {_or_nothing(row['p99_ms'])} |"
            f" {_or_nothing(row['p99_ratio_to_envoy'])} | {row['rss_mib']:.0f} |"
        )
    return lines


def _bulk(table: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "| case | system | Gbit/s | of Envoy's | MB per CPU second | CPU of Envoy's |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row['case']} | {row['system']} | {row['gbit_s']:.1f} | {_or_nothing(row['throughput_ratio_to_envoy'])} |"
        f" {row['mb_per_cpu_s']:,} | {_or_nothing(row['cpu_ratio_to_envoy'])} |"
        for row in table
    ]


def _echo(table: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "| case | system | messages/s | CPU µs/message | of Envoy's |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row['case']} | {row['system']} | {row['rps']:,} | {row['cpu_us']:.1f} |"
        f" {_or_nothing(row['cpu_ratio_to_envoy'])} |"
        for row in table
    ]


def _idle(table: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "| case | system | RSS MiB per hop | agent | worker |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row['case']} | {row['system']} | {row['rss_mib']:.0f} | {_or_nothing(row['agent_mib'], '.0f')} |"
        f" {_or_nothing(row['worker_mib'], '.0f')} |"
        for row in table
    ]


def _or_nothing(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def _caveats(results: Results) -> list[str]:
    lines: list[str] = []
    busiest = max((run.disturbed for figures in results.values() for run in figures.runs), default=0.0)
    if busiest > _BUSY:
        lines += [
            "",
            f"Other programs used up to {busiest:.0%} of the proxies' core meanwhile: take the times with care.",
        ]
    slowest = min((run.achieved for figures in results.values() for run in figures.paced), default=1.0)
    if slowest < _PACED:
        lines += ["", f"Not every run kept the fixed rate; the slowest made {slowest:.0%} of it."]
    return lines


def update_document(path: Path, text: str) -> None:
    """Put the figures between the markers. Raises ValueError if the document has lost them."""
    document = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path} lacks the markers {BEGIN} and {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", document))
