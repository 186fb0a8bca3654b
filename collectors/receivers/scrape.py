"""Scrapes targets, as Prometheus does: each on its own, spread over the interval.

Beside a target's own series there are Prometheus' three about the scrape: `up`, and, where every name is wanted,
`scrape_duration_seconds` and `scrape_samples_scraped`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from collectors.pipeline import Consumer, Refused
from collectors.receivers.exposition import MAX_SERIES, MESH, BrokenExposition, Exposition
from collectors.receivers.readings import Readings
from collectors.receivers.scrape_fetch import MAX_BODY_BYTES, Access, ScrapeFailed, fetch
from collectors.receivers.targets import MAX_FILE_BYTES, MAX_TARGETS, Target, bounded, parse_targets
from collectors.records import Batch, Labels, Sample
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.lifecycle import TaskScope

__all__ = ["MAX_BODY_BYTES", "MAX_TARGETS", "Job", "ScrapeFailed", "Scraper", "Target", "fetch", "parse_targets"]

_log = logging.getLogger("remora.scrape")

_SAMPLE_BYTES = 500
"""What one takes in memory, about."""

_LEFT_OUT = {"limit": "the target shows too many series", "timestamp": "they have times of their own"}


def _as_it_is(target: Target) -> Target | None:
    return target


@dataclass(frozen=True, slots=True)
class Job:
    """Targets that are scraped alike."""

    files: tuple[Path, ...] = ()
    """In file_sd's format; read again when they change."""
    static: tuple[Target, ...] = ()
    interval_s: float = 2.0
    timeout_s: float = 0.0
    """0: the interval, but at least a second."""
    wanted: tuple[str, ...] = MESH
    """Beginnings of names; none: every name."""
    max_series: int = MAX_SERIES
    """Of one target."""
    labels: Labels = ()
    """Added to targets that have none of the name."""
    access: Access = field(default_factory=Access)
    relabel: Callable[[Target], Target | None] = _as_it_is
    """None: not to be scraped."""


class _File:
    """One file of a job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: tuple[int, int, int] | None = None
        self.targets: frozenset[Target] = frozenset()

    def reload(self) -> bool:
        """Whether there is something new."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self.stamp:
                return False
            self.stamp = stamp  # a broken file is complained of once
            if stat.st_size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
            self.targets = parse_targets(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return False  # no workload yet
        except (OSError, ValueError) as error:
            _log.error("%s is not read, the targets of before stay: %s", self.path, error)
            return False
        return True


class Scraper:
    """Follows a job's files and scrapes its targets."""

    def __init__(self, job: Job, consumer: Consumer, telemetry: Telemetry, clock: Clock, rng: random.Random) -> None:
        self._job = job
        self._files = [_File(path) for path in job.files]
        self._consumer = consumer
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._started = False

    @property
    def targets(self) -> frozenset[Target]:
        """What is being scraped."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskScope() as scope:
            while True:
                self._reload(scope)
                await asyncio.sleep(min(1.0, self._job.interval_s))

    def _reload(self, scope: TaskScope) -> None:
        changed = [file.reload() for file in self._files]
        if self._started and not any(changed):
            return
        self._started = True
        try:
            found = bounded(self._wanted())
        except ValueError as error:
            _log.error("the targets of before stay: %s", error)
            return
        for gone in self._tasks.keys() - found:
            self._tasks.pop(gone).cancel()
        for target in found - self._tasks.keys():
            self._tasks[target] = scope.spawn(self._follow(target), name=f"scrape {target.address}")

    def _wanted(self) -> set[Target]:
        found = set()
        for target in (*self._job.static, *(each for file in self._files for each in file.targets)):
            labels = dict(self._job.labels) | dict(target.labels)
            kept = self._job.relabel(replace(target, labels=tuple(sorted(labels.items()))))
            if kept is not None:
                found.add(kept)
        return found

    async def _follow(self, target: Target) -> None:
        job = self._job
        scrape = _Scrape(target, job, self._telemetry)
        timeout_s = job.timeout_s or max(1.0, job.interval_s)
        await asyncio.sleep(self._rng.uniform(0, job.interval_s) / 2)
        try:
            while True:
                started = self._clock.monotonic()
                now = self._clock.now()
                try:
                    text = await fetch(target, timeout_s=timeout_s, access=job.access)
                    samples = scrape.succeeded(text, now, lambda: self._clock.monotonic() - started)  # noqa: B023
                except (ScrapeFailed, BrokenExposition) as error:
                    samples = scrape.failed(error, now, self._clock.monotonic() - started)
                self._telemetry.scrapes.labels("failed" if scrape.failing else "ok").inc()
                await self._hand_on(samples)
                await asyncio.sleep(max(0.0, started + job.interval_s - self._clock.monotonic()))
        finally:
            # The target is gone, or we are: its series end here.
            await self._hand_on(scrape.ended(self._clock.now()))

    async def _hand_on(self, samples: list[Sample]) -> None:
        if not samples:
            return
        try:
            await self._consumer.consume(Batch(samples=samples, size_bytes=_SAMPLE_BYTES * len(samples)))
        except Refused as error:
            self._telemetry.refused.labels("scrape", "metrics").inc(len(samples))
            _log.error("%d samples were not stored: %s", len(samples), error)
        else:
            self._telemetry.received.labels("scrape", "metrics").inc(len(samples))


class _Scrape:
    """One target: its texts as samples."""

    def __init__(self, target: Target, job: Job, telemetry: Telemetry) -> None:
        labels = {"instance": target.address, **dict(target.labels)}
        self._target = target
        self._telemetry = telemetry
        self._labels = tuple(sorted(labels.items()))
        self._exposition = Exposition(labels, wanted=job.wanted, max_series=job.max_series)
        self._readings = Readings()
        self._everything = not job.wanted
        self._told: frozenset[str] = frozenset()
        self._begun = False
        self.failing = False

    def succeeded(self, text: str, now: float, took_s: Callable[[], float]) -> list[Sample]:
        """Raises BrokenExposition."""
        samples = self._readings.read(self._exposition.read(text), now)
        if self.failing:
            _log.info("scraping %s again", self._target.address)
        self.failing = False
        self._tell_left_out()
        return samples + self._about(now, 1.0, took_s(), len(samples))

    def failed(self, error: Exception, now: float, took_s: float) -> list[Sample]:
        """Every series ends; that it is down goes on."""
        if not self.failing:
            _log.warning("cannot scrape %s: %s", self._target.address, error)
        self.failing = True
        return self._readings.failed(now) + self._about(now, 0.0, took_s, 0)

    def ended(self, now: float) -> list[Sample]:
        """It is not scraped any more."""
        about = [each._replace(value=None) for each in self._about(now, 0.0, 0.0, 0)] if self._begun else []
        return self._readings.failed(now) + about

    def _about(self, now: float, up: float, took_s: float, count: int) -> list[Sample]:
        self._begun = True
        values = [("up", up)]
        if self._everything:
            values += [("scrape_duration_seconds", took_s), ("scrape_samples_scraped", float(count))]
        return [Sample(name, self._labels, now, value, None, "gauge") for name, value in values]

    def _tell_left_out(self) -> None:
        """Once, not at each scrape."""
        exposition = self._exposition
        counts = {"limit": exposition.passed_over, "timestamp": exposition.timed}
        for reason, count in counts.items():
            if count:
                self._telemetry.left_out.labels(reason).inc(count)
                if reason not in self._told:
                    _log.warning("%s: %d lines are left out: %s", self._target.address, count, _LEFT_OUT[reason])
        self._told = frozenset(reason for reason, count in counts.items() if count)
