"""A tail_sampling stage as its settings make it, in front of a consumer that keeps what it gets."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from collectors.pipeline import Consumer
from collectors.processors.tail_sampling import Settings, TailSampling, build
from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.records import SpanRecord
from collectors.settings.context import Context
from collectors.telemetry import Telemetry
from mesh.clock import SystemClock
from tests.collectors.fakes import Sink


class Sampling:
    """`async with` it."""

    def __init__(self, state: Path, then: Consumer | None = None, **said: Any) -> None:
        self.sink = Sink()
        self.telemetry = Telemetry()
        self._stack = AsyncExitStack()
        clock = SystemClock()
        claims = Claims(Members, self.telemetry, clock)
        self.context = Context(clock, random.Random(1), self.telemetry, state, claims, None, self._stack)
        self._then = then or self.sink
        self._settings = Settings.model_validate({"policies": [{"type": "errors"}], "decision_wait": "50ms", **said})
        self.stage: TailSampling

    async def __aenter__(self) -> "Sampling":
        self.stage = build(self._settings, "sampling", self.context, self._then)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sink.open.set()
        await self._stack.aclose()

    def second(self) -> TailSampling:
        """Of another route that names the same processor."""
        return build(self._settings, "sampling", self.context, self._then)

    @property
    def kept(self) -> list[SpanRecord]:
        return [span for batch in self.sink.batches for span in batch.spans]

    def count(self, name: str, **labels: str) -> float:
        full = f"remora_collector_sampling_{name}"
        return self.telemetry.registry.get_sample_value(full, {"processor": "sampling", **labels}) or 0.0
