"""The processor `relabel`: Prometheus' metric_relabel_configs. Logs and spans pass as they are.

A histogram is one series here, under its name without `_bucket`, `_count` and `_sum`.
"""

from dataclasses import replace

from prometheus_client import Counter
from pydantic import Field

from collectors.pipeline import Consumer
from collectors.processors.relabel_settings import RelabelRule
from collectors.processors.relabeling import NAME, Rule, relabel
from collectors.records import Batch, Labels, Sample
from collectors.settings.context import Context
from collectors.settings.types import Model
from collectors.telemetry import Telemetry

MAX_KNOWN = 200_000
"""Series whose outcome is remembered; then all are worked out anew."""

_Identity = tuple[str, Labels]


class Settings(Model):
    """`processors.NAME` with `type: relabel`."""

    rules: tuple[RelabelRule, ...] = Field(min_length=1, max_length=1_000)
    """Applied in their order."""


def build(settings: Settings, name: str, context: Context, then: Consumer) -> Consumer:
    """See collectors.settings.registry."""
    return Relabel(tuple(each.rule() for each in settings.rules), context.telemetry, then)


class Relabel:
    """A stage of the pipeline."""

    def __init__(self, rules: tuple[Rule, ...], telemetry: Telemetry, then: Consumer) -> None:
        self._rules = rules
        self._then = then
        self._known: dict[_Identity, _Identity | None] = {}
        self._dropped: Counter = telemetry.relabelled.labels("dropped")
        self._collided: Counter = telemetry.relabelled.labels("collided")

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        if batch.samples:
            batch = replace(batch, samples=self._relabel(batch.samples))
        if len(batch):
            await self._then.consume(batch)

    def _relabel(self, samples: list[Sample]) -> list[Sample]:
        kept: dict[tuple[_Identity, float], Sample] = {}
        dropped = 0
        for sample in samples:
            identity = self._outcome((sample.name, sample.labels))
            if identity is None:
                dropped += 1
                continue
            # Two series that became one: only one of them can be told, and always the same one.
            kept.setdefault((identity, sample.time), sample._replace(name=identity[0], labels=identity[1]))
        self._dropped.inc(dropped)
        self._collided.inc(len(samples) - dropped - len(kept))
        return list(kept.values())

    def _outcome(self, identity: _Identity) -> _Identity | None:
        if identity in self._known:
            return self._known[identity]
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        name, labels = identity
        found = relabel({**dict(labels), NAME: name}, self._rules)
        outcome: _Identity | None = None
        if found is not None and NAME in found:
            kept = sorted((key, value) for key, value in found.items() if not key.startswith("__"))
            outcome = (found[NAME], tuple(kept))
        self._known[identity] = outcome
        return outcome
