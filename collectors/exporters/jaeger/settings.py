"""`exporters.NAME` of type `jaeger`: spans into Elasticsearch as Jaeger keeps them."""

import re
from typing import ClassVar

from pydantic import Field, field_validator

from collectors.exporters.elasticsearch.client import Client
from collectors.exporters.elasticsearch.install import Installer
from collectors.exporters.elasticsearch.nodes import NodeSettings, connection
from collectors.exporters.jaeger.counts import JaegerCounts
from collectors.exporters.jaeger.dependencies import DependencyJob
from collectors.exporters.jaeger.indices import Indices
from collectors.exporters.jaeger.sink import JaegerSink
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import Duration, Size, wrong
from mesh.lifecycle import TaskScope

_PREFIX = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,99}")


class Settings(NodeSettings):
    """Elasticsearch 8.13 to 9, OpenSearch 2.7 to 3. Jaeger reads the indices, and `remora query --elasticsearch`."""

    takes: ClassVar[frozenset[Signal]] = frozenset(("traces",))

    index_prefix: str = ""
    """As Jaeger's `--es.index-prefix`: `PREFIX-jaeger-span-2026-01-31`."""
    max_bulk_bytes: Size = Field(default=8 << 20, ge=64 << 10, le=64 << 20)
    """Of one request, before compression."""
    max_bulk_spans: int = Field(default=5_000, ge=1, le=50_000)
    """Of one request."""
    setup: bool = True
    """Install the index templates. False: Jaeger did, or somebody else."""
    shards: int | None = Field(default=None, ge=1, le=1024)
    """Primary shards of an index. Default: Elasticsearch's."""
    replicas: int | None = Field(default=None, ge=0, le=32)
    """Default: Elasticsearch's."""
    max_age: Duration = Field(default=31 * 86_400.0, ge=3_600.0, le=366 * 86_400.0)
    """Each day is an index: spans that began earlier, or more than ten minutes ahead, are refused."""
    dependencies: bool = True
    """Count calls between services, which Jaeger's graph of them shows. One collector of several is enough, and more do
    no harm."""
    dependency_interval: Duration = Field(default=900.0, ge=60.0, le=86_400.0)
    """Between counts; each counts the spans of one such window."""

    @field_validator("index_prefix")
    @classmethod
    def _name(cls, value: str) -> str:
        if value and not _PREFIX.fullmatch(value):
            raise wrong("is no beginning of an index's name; write a-z, 0-9, _, . and -, at most 100")
        return value.removesuffix("-")


def build(settings: Settings, name: str, context: Context) -> JaegerSink:
    """See registry. Nothing is sent yet: Elasticsearch may be down when the collector starts."""
    client = Client(connection(settings), context.clock)
    indices = Indices(settings.index_prefix)
    counts = JaegerCounts(context.telemetry.registry, name)
    installer = None
    if settings.setup:
        installer = Installer(client, indices.templates(shards=settings.shards, replicas=settings.replicas))
    if settings.dependencies:
        # A client of its own: it may ask until its task has ended, which is after the sink's is closed.
        reading, scope = Client(connection(settings), context.clock), TaskScope()
        context.on_close(reading.close)
        context.on_close(scope.close)
        context.watch(scope)
        job = DependencyJob(reading, indices, counts, context.clock, settings.dependency_interval)
        scope.spawn(job.run(), name=f"dependencies {name}")
    return JaegerSink(
        client,
        indices,
        installer,
        counts,
        context.clock,
        max_bytes=settings.max_bulk_bytes,
        max_spans=settings.max_bulk_spans,
        max_age_s=settings.max_age,
    )
