"""The order of things: all systems of a case run at the same time and take turns, so that whatever else the machine
does meets all alike."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench.cases import ENVOY, Case, Plan, Work
from tests.bench.ground import Ground, prepared
from tests.bench.measure import Figures, measure_idle, measure_paced, measure_saturated
from tests.bench.systems.system import Running, System

Results = Mapping[tuple[str, str], Figures]
"""(case, system) -> what was measured."""

Step = Callable[[str], None]
"""Told what comes next, and at the end of each step."""


def steps(cases: Sequence[Case], systems: Sequence[System], plan: Plan) -> int:
    """How many times `begin` is called."""
    total = 0
    for case in cases:
        for system in _able(systems, case):
            rounds = plan.rounds_of(system.name)
            total += 1 if case.work is Work.NOTHING else rounds * (2 if case.paced else 1)
    return total


def run(cases: Sequence[Case], systems: Sequence[System], plan: Plan, python: str, begin: Step) -> Results:
    """Raises Failed."""
    results: dict[tuple[str, str], Figures] = {}
    with (
        tempfile.TemporaryDirectory(prefix="remora-bench-") as directory,
        prepared(Path(directory), python) as ground,
    ):
        for case in cases:
            able = _able(systems, case)
            begin(f"{case.name} starting")
            with contextlib.ExitStack() as stack:
                running = {each.name: stack.enter_context(each.running(case, ground)) for each in able}
                figures = {name: Figures() for name in running}
                if case.work is Work.NOTHING:
                    _idle(case, running, figures, plan, begin)
                else:
                    _busy(case, running, figures, plan, ground, begin)
                for each in running.values():
                    each.check()
                results.update({(case.name, name): measured for name, measured in figures.items()})
    return results


def _able(systems: Sequence[System], case: Case) -> list[System]:
    return [each for each in systems if each.can(case)]


def _busy(
    case: Case, running: Mapping[str, Running], figures: Mapping[str, Figures], plan: Plan, ground: Ground, begin: Step
) -> None:
    for number in range(plan.rounds):
        for name, system in running.items():
            if number < plan.rounds_of(name):
                begin(f"{case.name} {name} round {number + 1}")
                run = measure_saturated(system, case, plan.saturated_s, ground.directory, ground.message)
                figures[name].runs.append(run)
    if not case.paced:
        return
    envoy = figures.get(ENVOY)
    rate = float(plan.rate) if envoy is None else envoy.median(lambda run: run.per_s) / 2
    for number in range(plan.rounds):
        for name, system in running.items():
            if number < plan.rounds_of(name):
                begin(f"{case.name} {name} at {rate:,.0f}/s, round {number + 1}")
                paced = measure_paced(system, case, plan.paced_s, rate, ground.directory, ground.message)
                figures[name].paced.append(paced)
                figures[name].rate = rate


def _idle(case: Case, running: Mapping[str, Running], figures: Mapping[str, Figures], plan: Plan, begin: Step) -> None:
    time.sleep(plan.idle_s)
    for name, system in running.items():
        begin(f"{case.name} {name}")
        figures[name].idle = measure_idle(system)
