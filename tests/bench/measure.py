"""Run one system once, and make one figure of several runs."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.cases import PROXY_CORE, Case, Work
from tests.bench.load import Paced, pace, saturate
from tests.bench.processes import Memory, core_busy_s, memory, usage
from tests.bench.systems.system import Running

SETTLE_S = 1.5
"""After a run, so that what is done once a second (access logs, metrics) is counted with the requests it is for."""

BULK_UNIT = 2**20
"""Bytes, of which the CPU is stated where bytes are counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """One round with as much load as the proxy takes."""

    per_s: float
    """Requests, or messages, or bytes."""
    cpu_us: float
    """Of all the proxies' processes, per request, or message, or MiB."""
    rss_mib: float
    """Of one hop."""
    disturbed: float
    """Share of the proxies' core that other programs used meanwhile, 0 to 1."""


@dataclass(slots=True)
class Figures:
    """All of one system in one case."""

    runs: list[Run] = field(default_factory=list)
    paced: list[Paced] = field(default_factory=list)
    rate: float | None = None
    """Requests per second of the paced runs."""
    idle: Memory | None = None
    """Of one hop."""

    def median(self, of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, self.runs))

    def paced_median(self, of: Callable[[Paced], float]) -> float | None:
        return statistics.median(map(of, self.paced)) if self.paced else None


def measure_saturated(running: Running, case: Case, seconds: int, directory: Path, message: Path) -> Run:
    """Raises Failed when an answer was wrong."""
    pids = _pids(running)
    before, busy_before, began = usage(pids), core_busy_s(PROXY_CORE), time.monotonic()
    saturated = saturate(running.entry, case, seconds, directory, message)
    time.sleep(SETTLE_S)
    after, busy_after, ended = usage(pids), core_busy_s(PROXY_CORE), time.monotonic()
    _check(running)
    own_s = after.cpu_s - before.cpu_s
    units = saturated.count / (BULK_UNIT if case.work is Work.BULK else 1)
    return Run(
        per_s=saturated.per_s,
        cpu_us=own_s / units * 1e6,
        rss_mib=after.rss_bytes / case.hops / 2**20,
        disturbed=max(0.0, busy_after - busy_before - own_s) / (ended - began),
    )


def measure_paced(running: Running, case: Case, seconds: int, rate: float, directory: Path, message: Path) -> Paced:
    """Raises Failed when an answer was wrong."""
    paced = pace(running.entry, case, seconds, rate, directory, message)
    _check(running)
    return paced


def measure_idle(running: Running) -> Memory:
    """Of the average hop."""
    _check(running)
    each = [memory(pid) for pid in _pids(running)]
    return Memory(sum(m.root_mib for m in each) / len(each), sum(m.children_mib for m in each) / len(each))


def _pids(running: Running) -> Sequence[int]:
    return [each.pid for each in running.proxies]


def _check(running: Running) -> None:
    for each in running.proxies:
        each.check()
