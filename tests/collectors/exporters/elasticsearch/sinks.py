"""Sinks for tests, built as the collector builds them."""

import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from collectors.exporters.elasticsearch.settings import Settings, build
from collectors.exporters.elasticsearch.sink import ElasticsearchSink
from collectors.receivers.claims import Claims
from collectors.settings.context import Context
from collectors.settings.types import DIRECTORY
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from tests.collectors.build import FakeClock


class Sinks:
    """Builds them, and has what they count."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.telemetry = Telemetry()

    @contextlib.asynccontextmanager
    async def open(
        self, *urls: str, directory: Path | None = None, **settings: Any
    ) -> AsyncIterator[ElasticsearchSink]:
        """Retention is Elasticsearch's own, unless asked for otherwise: the tests' server has no ILM, and OpenSearch
        neither."""
        kept = "none" if settings.get("engine") == "opensearch" else "data_stream"
        values = {"urls": list(urls), "retention": {"type": kept}, **settings}
        async with AsyncExitStack() as stack:
            context = Context(
                clock=self.clock,
                rng=random.Random(1),
                telemetry=self.telemetry,
                state=Path("unused"),
                claims=Claims(lambda: None, self.telemetry, self.clock),
                credentials=None,
                stack=stack,
            )
            model = Settings.model_validate(values, context={DIRECTORY: directory or Path("unused")})
            sink = build(model, "back", context)
            try:
                yield sink
            finally:
                await sink.close()

    def counted(self, name: str) -> float:
        """A counter of the exporter."""
        full = f"remora_collector_elasticsearch_{name}_total"
        return self.telemetry.registry.get_sample_value(full, {"exporter": "back"}) or 0.0
