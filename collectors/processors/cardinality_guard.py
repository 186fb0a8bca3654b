"""A bound on how many series there are: of a target, of a metric, in all. Logs and spans pass.

One label with a user's id in it can fill any back end. Beyond the bounds a series that is new is dropped and counted,
those that are known go on; a series that ended, or was silent for `expiry`, makes room. The report says which labels
have the most values, since that is what has to be mended.
"""

import asyncio
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any

from collectors.pipeline import Consumer
from collectors.records import Batch, Labels, Sample
from collectors.telemetry import Telemetry
from mesh.clock import Clock

_log = logging.getLogger("remora.cardinality")

TARGET = "instance"
LOG_EVERY_S = 60.0
MAX_EXAMPLES = 5
MAX_METRICS_REPORTED = 100
_MAX_OFFENDERS = 1_000
"""Metrics whose dropped samples are counted by name."""
_MAX_EXAMPLE_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Bounds:
    """A histogram is one series."""

    series: int = 500_000
    """In all."""
    target: int = 20_000
    """Of one `instance`."""
    metric: int = 50_000
    """Of one name."""
    expiry_s: float = 600.0
    """A series without a sample for so long does not count any more."""


class CardinalityGuard:
    """A stage of the pipeline."""

    def __init__(self, bounds: Bounds, telemetry: Telemetry, clock: Clock, then: Consumer) -> None:
        self._bounds = bounds
        self._clock = clock
        self._then = then
        self._seen: dict[str, dict[Labels, float]] = {}
        """When each series of a metric was seen last, monotonic seconds."""
        self._of_target: dict[str, int] = defaultdict(int)
        self._series = self._shown = 0
        self._swept_at = clock.monotonic()
        self._dropped = telemetry.cardinality_dropped
        for limit in ("metric", "target", "total"):
            self._dropped.labels(limit)  # there from the start: the first drop is an increase
        self._gauge = telemetry.cardinality_series
        self._offenders: dict[str, int] = {}
        self._logged: dict[str, float] = {}

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        if batch.samples:
            now = self._clock.monotonic()
            self._sweep(now)
            batch = replace(batch, samples=[sample for sample in batch.samples if self._admits(sample, now)])
            self._gauge.inc(self._series - self._shown)
            self._shown = self._series
        if len(batch):
            await self._then.consume(batch)

    def _admits(self, sample: Sample, now: float) -> bool:
        of_metric = self._seen.get(sample.name)
        if of_metric is None:
            of_metric = self._seen[sample.name] = {}
        known = sample.labels in of_metric
        if sample.value is None:
            if known:
                self._forget(sample.name, sample.labels)
            return known
        if not known:
            limit = self._limit(sample, len(of_metric))
            if limit:
                if not of_metric:
                    del self._seen[sample.name]
                self._refuse(sample, limit, now)
                return False
            self._series += 1
            self._of_target[_target(sample.labels)] += 1
        of_metric[sample.labels] = now
        return True

    def _limit(self, sample: Sample, of_metric: int) -> str:
        """The bound that one more series would break."""
        bounds = self._bounds
        if of_metric >= bounds.metric:
            return "metric"
        if self._of_target.get(_target(sample.labels), 0) >= bounds.target:
            return "target"
        return "total" if self._series >= bounds.series else ""

    def _refuse(self, sample: Sample, limit: str, now: float) -> None:
        self._dropped.labels(limit).inc()
        if sample.name in self._offenders or len(self._offenders) < _MAX_OFFENDERS:
            self._offenders[sample.name] = self._offenders.get(sample.name, 0) + 1
        if now - self._logged.get(limit, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged[limit] = now
            where = {"metric": sample.name, "target": _target(sample.labels), "total": "all targets"}[limit]
            _log.warning(
                "too many series of %s: new ones, now of %s, are dropped; `remora metrics cardinality` says more",
                where,
                sample.name,
            )

    def _forget(self, name: str, labels: Labels) -> None:
        of_metric = self._seen[name]
        del of_metric[labels]
        if not of_metric:
            del self._seen[name]
        self._series -= 1
        target = _target(labels)
        self._of_target[target] -= 1
        if not self._of_target[target]:
            del self._of_target[target]

    def _sweep(self, now: float) -> None:
        expiry_s = self._bounds.expiry_s
        if now - self._swept_at < expiry_s / 4:
            return
        self._swept_at = now
        for name, of_metric in list(self._seen.items()):
            for labels in [labels for labels, seen in of_metric.items() if now - seen >= expiry_s]:
                self._forget(name, labels)

    async def report(self) -> dict[str, Any]:
        """Which metrics have the most series, and which of their labels the most values."""
        seen = {name: tuple(of_metric) for name, of_metric in self._seen.items()}
        worst = sorted(seen, key=lambda name: len(seen[name]), reverse=True)[:MAX_METRICS_REPORTED]
        # A hundred thousand series take a second to look at: not on the loop's time.
        labels = await asyncio.to_thread(lambda: {name: _labels_of(seen[name]) for name in worst})
        targets = sorted(self._of_target.items(), key=lambda item: item[1], reverse=True)
        return {
            "series": self._series,
            "bounds": asdict(self._bounds),
            "metrics": [
                {
                    "name": name,
                    "series": len(seen[name]),
                    "dropped": self._offenders.get(name, 0),
                    "labels": labels[name],
                }
                for name in worst
            ],
            "targets": [{"instance": instance, "series": count} for instance, count in targets[:MAX_METRICS_REPORTED]],
            "dropped": dict(
                sorted(self._offenders.items(), key=lambda item: item[1], reverse=True)[:MAX_METRICS_REPORTED]
            ),
        }


def _labels_of(series: tuple[Labels, ...]) -> list[dict[str, Any]]:
    """Each label with the number of its values, the worst first."""
    values: dict[str, set[str]] = defaultdict(set)
    for labels in series:
        for name, value in labels:
            values[name].add(value)
    worst = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "label": name,
            "values": len(found),
            "examples": [value[:_MAX_EXAMPLE_CHARACTERS] for value in sorted(found)[:MAX_EXAMPLES]],
        }
        for name, found in worst
    ]


def _target(labels: Labels) -> str:
    for name, value in labels:
        if name == TARGET:
            return value
    return ""
