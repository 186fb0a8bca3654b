"""Which records go where: each takes the first route that matches, and with `proceed` looks for another after it.

A batch is acknowledged when every part of it is durable everywhere its routes say.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from collectors.pipeline import Consumer, Refused
from collectors.records import Batch, LogRecord
from collectors.telemetry import Telemetry

MAX_CACHED = 10_000
"""Tags whose routes are remembered; senders choose them."""


@dataclass(frozen=True, slots=True)
class Route:
    """One, with what comes behind it."""

    then: Consumer
    signals: frozenset[str]
    tags: re.Pattern[str] | None = None
    """To be matched in full; None: any."""
    severities: frozenset[str] = frozenset()
    """None: any."""
    proceed: bool = False

    def takes_log(self, tag: str, severity: str) -> bool:
        """Whether it matches a log record."""
        return (
            "logs" in self.signals
            and (not self.severities or severity in self.severities)
            and (self.tags is None or self.tags.fullmatch(tag) is not None)
        )


class Router:
    """The stage that branches."""

    def __init__(self, routes: Sequence[Route], telemetry: Telemetry) -> None:
        self._routes = tuple(routes)
        self._telemetry = telemetry
        self._spans = self._of(lambda route: "traces" in route.signals)
        self._samples = self._of(lambda route: "metrics" in route.signals)
        self._logs: dict[tuple[str, str], tuple[int, ...]] = {}

    def _of(self, matches: Callable[[Route], bool]) -> tuple[int, ...]:
        found: list[int] = []
        for index, route in enumerate(self._routes):
            if matches(route):
                found.append(index)
                if not route.proceed:
                    break
        return tuple(found)

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        parts = self._split(batch)
        if len(parts) == 1:
            ((index, part),) = parts.items()
            await self._routes[index].then.consume(part)
            return
        await each([self._routes[index].then.consume(part) for index, part in parts.items()])

    def _split(self, batch: Batch) -> dict[int, Batch]:
        groups = self._groups(batch.logs)
        if not batch.spans and not batch.samples and len(groups) == 1:
            ((routes, logs),) = groups.items()
            if len(routes) == 1:
                return {routes[0]: batch}
        parts: dict[int, Batch] = {}
        # In about the proportion of records: it is back-pressure's measure, and nobody counts bytes anew.
        each_bytes = batch.size_bytes // max(len(batch), 1)

        def part(index: int) -> Batch:
            if index not in parts:
                parts[index] = Batch(sender=batch.sender)
            return parts[index]

        for routes, logs in groups.items():
            for index in routes:
                part(index).logs += logs
            if not routes:
                self._telemetry.unrouted.labels("logs").inc(len(logs))
        for signal, routes, count in (
            ("traces", self._spans, len(batch.spans)),
            ("metrics", self._samples, len(batch.samples)),
        ):
            if count and not routes:
                self._telemetry.unrouted.labels(signal).inc(count)
        for index in self._spans if batch.spans else ():
            part(index).spans += batch.spans
        for index in self._samples if batch.samples else ():
            part(index).samples += batch.samples
        for one in parts.values():
            one.size_bytes = each_bytes * len(one)
        return parts

    def _groups(self, logs: list[LogRecord]) -> dict[tuple[int, ...], list[LogRecord]]:
        """By the routes that they take."""
        groups: dict[tuple[int, ...], list[LogRecord]] = {}
        known = self._logs
        last: tuple[str, str] | None = None
        group: list[LogRecord] = []
        for record in logs:
            key = (record.tag, record.severity)
            if key != last:
                last = key
                routes = known.get(key)
                if routes is None:
                    routes = self._routes_of(key)
                group = groups.setdefault(routes, [])
            group.append(record)
        return groups

    def _routes_of(self, key: tuple[str, str]) -> tuple[int, ...]:
        if len(self._logs) >= MAX_CACHED:
            self._logs.clear()
        routes = self._logs[key] = self._of(lambda route: route.takes_log(*key))
        return routes


class Fanout:
    """Several exporters behind one route. All of them must have the batch."""

    def __init__(self, exporters: Sequence[Consumer]) -> None:
        self._exporters = tuple(exporters)

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        # Each its own lists: what one does to its batch is not the others' business.
        await each(
            [
                exporter.consume(Batch(list(batch.logs), list(batch.spans), list(batch.samples), batch.size_bytes))
                for exporter in self._exporters
            ]
        )


class Discard:
    """A route without exporters: its user wants these records gone. They are counted."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        for signal, records in (("logs", batch.logs), ("traces", batch.spans), ("metrics", batch.samples)):
            if records:
                self._telemetry.discarded.labels(signal).inc(len(records))


async def each(consuming: Sequence[Awaitable[None]]) -> None:
    """Await all. Raises Refused, one that asks for the same again if any does: where the batch was stored already, it
    is known by its ids the second time."""
    refused: list[Refused] = []
    for outcome in await asyncio.gather(*consuming, return_exceptions=True):
        if isinstance(outcome, Refused):
            refused.append(outcome)
        elif outcome is not None:
            raise outcome
    if refused:
        raise next((one for one in refused if one.retry), refused[0])
