"""`exporters.NAME` of type `remote_write`: samples to Prometheus, Mimir, Thanos, VictoriaMetrics and the like."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from collectors.exporters.http import HttpBackend, HttpSettings
from collectors.exporters.remote_write.encoding import Encoder
from collectors.exporters.remote_write.sink import RemoteWriteSink
from collectors.processors.relabeling import LABEL_NAME
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import wrong


class Settings(HttpSettings):
    """`url` is the whole address: `http://127.0.0.1:9090/api/v1/write`."""

    external_labels: dict[str, str] = Field(default={}, max_length=64)
    """Added to series that have none of the name, e.g. `cluster: east`."""
    exemplars: bool = True
    """Send them along; Prometheus keeps them with --enable-feature=exemplar-storage."""
    shards: int = Field(default=4, ge=1, le=64)
    """Requests at once. Each series is in one shard, and so in order."""
    max_series: int = Field(default=2_000, ge=100, le=100_000)
    """Of one request."""

    takes: ClassVar[frozenset[Signal]] = frozenset(("metrics",))
    ordered: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "compression" in self.model_fields_set:
            raise wrong("has compression; remote write 1.0 is always compressed with snappy, leave it out")
        for name in self.external_labels:
            if not LABEL_NAME.fullmatch(name) or name.startswith("__"):
                raise wrong(f"has the external label {name[:100]!r}, which is no label name")
        return self


def build(settings: Settings, name: str, context: Context) -> RemoteWriteSink:
    """See collectors.settings.registry."""
    encoder = Encoder(settings.external_labels, exemplars=settings.exemplars)
    backend = HttpBackend(settings, context.clock)
    return RemoteWriteSink(backend, encoder, shards=settings.shards, max_series=settings.max_series)
