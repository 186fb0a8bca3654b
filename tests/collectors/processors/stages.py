"""A processor as its settings make it, for tests."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.records import Batch, LogRecord
from collectors.settings.context import Context
from collectors.settings.registry import PROCESSORS, load_type
from collectors.telemetry import Telemetry
from tests.collectors.build import FakeClock
from tests.collectors.fakes import Sink


class Stage:
    """One processor, and what comes out of it."""

    def __init__(self, kind: str, settings: dict[str, Any], state: Path = Path("/nonexistent")) -> None:
        module = load_type(PROCESSORS[kind])
        self.telemetry = Telemetry()
        self.sink = Sink()
        clock = FakeClock()
        context = Context(
            clock=clock, rng=random.Random(1), telemetry=self.telemetry, state=state,
            claims=Claims(Members, self.telemetry, clock), credentials=None, stack=AsyncExitStack(),
        )  # fmt: skip
        self.stage = module.build(module.Settings.model_validate(settings), "it", context, self.sink)

    async def through(self, *logs: LogRecord) -> list[LogRecord]:
        """What becomes of these."""
        before = [(record, repr(record)) for record in logs]
        self.sink.batches.clear()
        await self.stage.consume(Batch(logs=list(logs)))
        assert all(repr(record) == text for record, text in before), "records that others may hold were changed"
        return [record for batch in self.sink.batches for record in batch.logs]

    def counted(self, outcome: str) -> float:
        labels = {"processor": "it", "outcome": outcome}
        return self.telemetry.registry.get_sample_value("remora_collector_processed_records_total", labels) or 0.0
