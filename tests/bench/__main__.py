"""`make bench`: our sidecar beside Envoy, nginx and HAProxy, on one machine, in one run. See docs/benchmarks.md."""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.cases import CASES, COMPILED, FULL, INTERPRETED, QUICK, SYSTEMS, Case, Plan
from tests.bench.processes import Failed
from tests.bench.report import Machine, markdown, update_document, write_json
from tests.bench.rounds import Results, run, steps
from tests.bench.systems.envoy import Envoy
from tests.bench.systems.haproxy import Haproxy
from tests.bench.systems.nginx import Nginx
from tests.bench.systems.remora import Remora
from tests.bench.systems.system import System

_ROOT = Path(__file__).parents[2]
_KNOWN: tuple[System, ...] = (Remora(COMPILED), Remora(INTERPRETED), Envoy(), Nginx(), Haproxy())
_TOOLS = {
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "nginx": "nginx",
    "taskset": "util-linux",
}
"""Programs without which nothing can be measured, and Debian's packages of them."""


def main() -> int:
    """Exit status 0: measured; 1: something does not run; 2: wrong use."""
    arguments = _parse()
    console = Console(stderr=True)
    absent = [f"{tool} (apt-get install {package})" for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if absent or len(os.sched_getaffinity(0)) < 2:
        console.print(f"the bench needs {', '.join(absent) or 'two cores'}")
        return 1
    systems: list[System] = []
    for system in _KNOWN:
        missing = system.missing()
        if system.name in arguments.systems and missing:
            console.print(f"[yellow]{system.name} is left out: {missing}")
        elif system.name in arguments.systems:
            systems.append(system)
    cases = [case for case in CASES if case.name in arguments.cases]
    plan: Plan = QUICK if arguments.quick else FULL
    try:
        results = _measure(cases, systems, plan, console)
    except Failed as error:
        console.print(f"bench: {error}", markup=False, highlight=False)
        return 1
    machine = Machine(
        datetime.now(UTC).date().isoformat(),
        _cpu(),
        platform.release(),
        {each.name: each.version() for each in systems if each.name != INTERPRETED},
    )
    text = markdown(results, plan, machine)
    write_json(arguments.output, results)
    arguments.output.with_suffix(".md").write_text(text + "\n")
    if arguments.write_docs:
        update_document(_ROOT / "docs" / "benchmarks.md", text)
    print(text)
    return 0


def _measure(cases: Sequence[Case], systems: Sequence[System], plan: Plan, console: Console) -> Results:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=steps(cases, systems, plan), completed=-1)

        def begin(what: str) -> None:
            progress.update(bar, description=what, advance=0 if what.endswith("starting") else 1)

        results = run(cases, systems, plan, sys.executable, begin)
        progress.advance(bar)
    return results


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{os.cpu_count()} × {line.partition(':')[2].strip()}"
    return platform.machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds; docs/benchmarks.md is left alone")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=[c.name for c in CASES])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--output", type=Path, default=_ROOT / "build" / "bench.json", help="default: build/bench.json")
    arguments = parser.parse_args()
    everything = len(set(arguments.cases)) == len(CASES) and len(set(arguments.systems)) == len(SYSTEMS)
    arguments.write_docs = everything and not arguments.quick
    return arguments


if __name__ == "__main__":
    sys.exit(main())
