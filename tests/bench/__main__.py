"""`make bench`: our sidecar beside Envoy, nginx and HAProxy, on one machine, in one run. See docs/benchmarks.md."""

import argparse
import contextlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.cases import CASES, FULL, QUICK, SYSTEMS, Case, Plan
from tests.bench.ground import prepared
from tests.bench.measure import Run, measure
from tests.bench.processes import Failed
from tests.bench.report import Machine, markdown, update_document, write_json
from tests.bench.systems.envoy import Envoy
from tests.bench.systems.haproxy import Haproxy
from tests.bench.systems.nginx import Nginx
from tests.bench.systems.remora import Remora
from tests.bench.systems.system import System

_ROOT = Path(__file__).parents[2]
_KNOWN: tuple[System, ...] = (Remora(), Envoy(), Nginx(), Haproxy())
_TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx", "taskset": "util-linux"}
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
        results = _run(cases, systems, plan, console)
    except Failed as error:
        console.print(f"bench: {error}", markup=False, highlight=False)
        return 1
    machine = Machine(
        datetime.now(UTC).date().isoformat(),
        _cpu(),
        platform.release(),
        {each.name: each.version() for each in systems},
    )
    text = markdown(results, plan, machine)
    write_json(arguments.output, results)
    arguments.output.with_suffix(".md").write_text(text + "\n")
    if arguments.write_docs:
        update_document(_ROOT / "docs" / "benchmarks.md", text)
    print(text)
    return 0


def _run(
    cases: Sequence[Case], systems: Sequence[System], plan: Plan, console: Console
) -> dict[tuple[str, str], list[Run]]:
    results: dict[tuple[str, str], list[Run]] = {(case.name, each.name): [] for case in cases for each in systems}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="remora-bench-") as directory,
        prepared(Path(directory), sys.executable) as ground,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("starting", total=len(cases) * len(systems) * plan.rounds)
        for case in cases:
            with contextlib.ExitStack() as stack:
                # All of them run at once and take turns, so that whatever else the machine does meets all alike.
                running = [(each, stack.enter_context(each.running(case, ground))) for each in systems]
                for number in range(1, plan.rounds + 1):
                    for system, started in running:
                        progress.update(bar, description=f"{case.name} {system.name} round {number}")
                        results[case.name, system.name].append(measure(started, case, plan, Path(directory)))
                        progress.advance(bar)
                for _, started in running:
                    started.check()
    return results


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{os.cpu_count()} × {line.partition(':')[2].strip()}"
    return platform.machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short rounds; docs/benchmarks.md is left alone")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=[c.name for c in CASES])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--output", type=Path, default=_ROOT / "build" / "bench.json", help="default: build/bench.json")
    arguments = parser.parse_args()
    everything = len(set(arguments.cases)) == len(CASES) and len(set(arguments.systems)) == len(SYSTEMS)
    arguments.write_docs = everything and not arguments.quick
    return arguments


if __name__ == "__main__":
    sys.exit(main())
