"""Run one system once, and make one figure of several runs."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import PROXY_CORE, Case, Plan
from tests.bench.load import pace, saturate
from tests.bench.processes import core_busy_s, usage
from tests.bench.systems.system import Running

SETTLE_S = 1.5
"""After a run, so that what is done once a second (access logs, metrics) is counted with the requests it is for."""


@dataclass(frozen=True, slots=True)
class Run:
    """One round's figures."""

    rps: float
    cpu_us: float
    """Of all the proxies' processes, per request."""
    p50_ms: float
    p99_ms: float
    rss_mib: float
    """Of one hop."""
    disturbed: float
    """Share of the proxies' core that other programs used meanwhile, 0 to 1."""
    achieved: float
    """Of the fixed rate, 0 to 1."""


def measure(running: Running, case: Case, plan: Plan, directory: Path) -> Run:
    """Raises Failed when an answer was wrong."""
    pids = [each.pid for each in running.proxies]
    before, busy_before, began = usage(pids), core_busy_s(PROXY_CORE), time.monotonic()
    saturated = saturate(running.entry, case.path, plan.saturated_s)
    time.sleep(SETTLE_S)
    after, busy_after, ended = usage(pids), core_busy_s(PROXY_CORE), time.monotonic()
    paced = pace(running.entry, case.path, plan.paced_s, plan.rate, directory)
    for each in running.proxies:
        each.check()
    own_s = after.cpu_s - before.cpu_s
    return Run(
        rps=saturated.rps,
        cpu_us=own_s / saturated.requests * 1e6,
        p50_ms=paced.p50_ms,
        p99_ms=paced.p99_ms,
        rss_mib=usage(pids).rss_bytes / case.hops / 2**20,
        disturbed=max(0.0, busy_after - busy_before - own_s) / (ended - began),
        achieved=paced.achieved,
    )


def median(runs: Sequence[Run]) -> Run:
    """Of each figure by itself."""
    return Run(*(statistics.median(getattr(run, field) for run in runs) for field in Run.__dataclass_fields__))
