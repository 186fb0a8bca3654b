"""The exporter `blackhole`: takes everything and keeps nothing. To measure what comes before a back end, and to try a
settings file without one."""

from collectors.exporters.sink import Outcome
from collectors.records import Batch
from collectors.settings.buffers import ExporterSettings
from collectors.settings.context import Context


class Settings(ExporterSettings):
    """`type: blackhole`."""


class Blackhole:
    """See sink.Sink."""

    async def send(self, batch: Batch) -> Outcome:
        """See sink.Sink."""
        return Outcome()

    async def close(self) -> None:
        """See sink.Sink."""


def build(settings: Settings, name: str, context: Context) -> Blackhole:
    """See settings.registry."""
    return Blackhole()
