"""What arrives at each target that is scraped, a pod say, by what it reports itself as destination."""

import sqlite3
from dataclasses import dataclass, field

from collectors.records import Histogram
from collectors.store.answers import TargetSummary
from collectors.store.metrics import Catalogue, histogram_increase, increase, latest_alive, merge, quantile
from collectors.store.topology import DURATION, REQUESTS, failed


@dataclass(slots=True)
class _Arrived:
    requests: float = 0.0
    errors: float = 0.0
    durations: list[Histogram] = field(default_factory=list)


def targets(connection: sqlite3.Connection, catalogue: Catalogue, now: float, window_s: float) -> list[TargetSummary]:
    """As Reader.targets says."""
    if not window_s > 0:
        raise ValueError(f"a window of {window_s} s")
    found: dict[tuple[str, str], _Arrived] = {}
    for one in catalogue.find(connection, REQUESTS):
        key = _target(one.labels)
        if key is None:
            continue
        grown = increase(connection, one, now - window_s, now)
        if grown > 0 or latest_alive(connection, one, now):
            arrived = found.setdefault(key, _Arrived())
            arrived.requests += grown
            arrived.errors += grown if failed(one.labels) else 0.0
    for one in catalogue.find(connection, DURATION):
        key = _target(one.labels)
        if key in found and (histogram := histogram_increase(connection, one, now - window_s, now)) is not None:
            found[key].durations.append(histogram)
    return [_summary(*key, arrived, window_s) for key, arrived in sorted(found.items())]


def _summary(namespace: str, workload: str, arrived: _Arrived, window_s: float) -> TargetSummary:
    durations = merge(arrived.durations)
    return TargetSummary(
        workload,
        namespace,
        requests_per_s=arrived.requests / window_s,
        error_rate=arrived.errors / arrived.requests if arrived.requests else 0.0,
        p50_ms=quantile(0.5, durations),
        p99_ms=quantile(0.99, durations),
    )


def _target(labels: dict[str, str]) -> tuple[str, str] | None:
    """Namespace and name that the scraper gave it; None for other reports, and for what was not scraped."""
    namespace, name = labels.get("namespace"), labels.get("workload")
    return (namespace, name) if namespace and name and labels.get("reporter") == "destination" else None
