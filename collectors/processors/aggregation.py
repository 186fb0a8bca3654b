"""The processor `aggregate`: series that differ in labels nobody asks for become one. Logs and spans pass.

What is summed up is in memory alone until it is told, every `interval`: after a crash the sums begin anew at zero,
which every reader of counters takes for what it is, a restart. What is lost is the growth of one interval.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from collectors.pipeline import Consumer, Refused
from collectors.processors.accumulation import OtherBounds, Sum
from collectors.processors.relabel_settings import Regex
from collectors.processors.relabeling import ANYTHING, LABEL_NAME
from collectors.records import Batch, Labels, Sample
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model, wrong
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.aggregate")

LOG_EVERY_S = 60.0
_MAX_EXEMPLARS = 20
_SAMPLE_BYTES = 500

Identity = tuple[str, Labels]


class Settings(Model):
    """`processors.NAME` with `type: aggregate`."""

    metrics: Regex = ANYTHING
    """Names of the metrics concerned, whole; a histogram's without `_bucket`. Others pass."""
    drop: tuple[str, ...] = Field(default=(), max_length=100)
    """Labels to sum over."""
    keep: tuple[str, ...] = Field(default=(), max_length=100)
    """Or: the only labels to keep."""
    gauges: Literal["refuse", "last", "sum", "min", "max"] = "refuse"
    """What many readings of a gauge become: there is no one answer, so it must be chosen. refuse: they are dropped and
    counted. So is what is of unknown type."""
    interval: Duration = Field(default=15.0, ge=0.05, le=3600)
    """Between what is told."""
    expiry: Duration = Field(default=300.0, ge=1.0, le=86_400)
    """A series without a reading for so long is no part of a sum any more; its growth stays."""
    max_series: int = Field(default=100_000, ge=1, le=5_000_000)
    """That are summed up at one time; samples of further ones are dropped and counted."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.drop) == bool(self.keep):
            raise wrong("needs either drop or keep: the labels to sum over, or the only ones to keep")
        for name in (*self.drop, *self.keep):
            if not LABEL_NAME.fullmatch(name) or name == "le":
                raise wrong(f"names {name[:100]!r}, which is no label that can be summed over")
        return self


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Consumer:
    """See collectors.settings.registry."""
    stage = Aggregate(settings, name, context.clock, context.telemetry, then)
    stage.start()
    context.on_close(stage.close)
    context.watch(stage)
    return stage


class Aggregate:
    """A stage of the pipeline that speaks by itself, too."""

    def __init__(self, settings: Settings, name: str, clock: Clock, telemetry: Telemetry, then: Consumer) -> None:
        self._settings = settings
        self._name = name
        self._clock = clock
        self._then = then
        self._labels = frozenset(settings.drop or settings.keep)
        self._sums: dict[Identity, Sum] = {}
        self._known: dict[Identity, Sum] = {}
        """Which sum each series is a part of."""
        self._refused = telemetry.aggregation_refused
        self._logged: dict[str, float] = {}
        self._scope = TaskScope()

    def start(self) -> None:
        """Tell the sums, from now on."""
        self._scope.spawn(self._tell(), name=f"aggregate {self._name}")

    async def wait_failed(self) -> None:
        """Return never, raise what ended the telling."""
        await self._scope.wait_failed()

    async def close(self) -> None:
        """Tell them once more, and stop."""
        await self._scope.close()
        await self.tell()

    async def consume(self, batch: Batch) -> None:
        """See Consumer. Returns at once for what is summed up."""
        if batch.samples:
            batch = replace(batch, samples=[sample for sample in batch.samples if self._passes(sample)])
        if len(batch):
            await self._then.consume(batch)

    async def tell(self) -> None:
        """Hand on every sum as it is now."""
        now = self._clock.now()
        samples: list[Sample] = []
        for identity, each in list(self._sums.items()):
            for key in each.expire(now - self._settings.expiry):
                del self._known[key]
            samples += each.reading(now, _MAX_EXEMPLARS)
            if not each.inputs:
                del self._sums[identity]
        if not samples:
            return
        try:
            await self._then.consume(Batch(samples=samples, size_bytes=_SAMPLE_BYTES * len(samples)))
        except Refused as error:
            self._count("back_end", len(samples), str(error))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval)
            await self.tell()

    def _passes(self, sample: Sample) -> bool:
        identity = (sample.name, sample.labels)
        found = self._known.get(identity)
        if found is None:
            if not self._settings.metrics.fullmatch(sample.name):
                return True
            if not self._summable(sample):
                return False
            if len(self._known) >= self._settings.max_series:
                self._count("limit", 1, f"more than {self._settings.max_series} series")
                return False
            found = self._sum(sample)
        try:
            found.add(identity, sample)
            if identity in found.inputs:
                self._known[identity] = found
        except OtherBounds:
            self._count("buckets", 1, f"{sample.name} has other buckets than the series that it is summed up with")
        return False

    def _summable(self, sample: Sample) -> bool:
        if sample.kind in ("counter", "histogram"):
            return True
        if self._settings.gauges != "refuse":
            return True
        what = "gauge" if sample.kind == "gauge" else "unknown"
        self._count(
            what, 1, f"{sample.name} is no counter; choose what becomes of gauges (gauges: last, sum, min, max)"
        )
        return False

    def _sum(self, sample: Sample) -> Sum:
        keep = bool(self._settings.keep)
        labels = tuple(pair for pair in sample.labels if (pair[0] in self._labels) == keep)
        identity = (sample.name, labels)
        found = self._sums.get(identity)
        if found is None:
            found = self._sums[identity] = Sum(sample.name, labels, sample.kind, self._settings.gauges)
        return found

    def _count(self, reason: str, count: int, why: str) -> None:
        self._refused.labels(reason).inc(count)
        now = self._clock.monotonic()
        if now - self._logged.get(reason, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged[reason] = now
            _log.warning("aggregate %s: %s", self._name, why)
