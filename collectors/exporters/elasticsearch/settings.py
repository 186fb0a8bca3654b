"""`exporters.NAME` of type elasticsearch."""

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from collectors.exporters.elasticsearch.client import Client
from collectors.exporters.elasticsearch.counts import Counts
from collectors.exporters.elasticsearch.documents import Encoder
from collectors.exporters.elasticsearch.install import Installer
from collectors.exporters.elasticsearch.nodes import NodeSettings, connection
from collectors.exporters.elasticsearch.rollover import OnceAcrossRollovers
from collectors.exporters.elasticsearch.sink import ElasticsearchSink
from collectors.exporters.elasticsearch.streams import Streams
from collectors.exporters.elasticsearch.templates import Retention, pieces
from collectors.exporters.elasticsearch.times import Timestamps
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model, Size, wrong

_NAMESPACE = re.compile(r"[a-z0-9_.]{1,100}")


class RetentionSettings(Model):
    """`retention`: how data streams roll over and end."""

    type: Literal["ilm", "data_stream", "none"] = "ilm"
    """ILM; the data stream lifecycle (serverless has no other); none: somebody else sees to it, as for OpenSearch."""
    rollover_bytes: Size = Field(default=30 << 30, ge=1 << 20)
    """Of a primary shard. Of ilm alone."""
    rollover_age: Duration = Field(default=86400.0, ge=60.0)
    """Of ilm alone."""
    delete_after: Duration = Field(default=30 * 86400.0, ge=3600.0)
    """After the rollover."""

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if self.type == "none" and "delete_after" in self.model_fields_set:
            raise wrong("has delete_after, and type none deletes nothing; leave it out, or write type: ilm")
        for name in ("rollover_bytes", "rollover_age"):
            if self.type != "ilm" and name in self.model_fields_set:
                raise wrong(f"has {name}, which only type ilm knows; leave it out, or write type: ilm")
        return self


class Settings(NodeSettings):
    """Elasticsearch 8.13 to 9, OpenSearch 2.7 to 3."""

    takes: ClassVar[frozenset[Signal]] = frozenset({"logs", "metrics"})

    namespace: str = "default"
    """The last word of the data streams' names: `logs-remora.access-NAMESPACE`."""
    max_bulk_bytes: Size = Field(default=4 << 20, ge=64 << 10, le=64 << 20)
    """Of one request, before compression. Elasticsearch's own bound is 100 MiB (http.max_content_length)."""
    max_bulk_records: int = Field(default=2_500, ge=1, le=50_000)
    """Of one request."""
    setup: bool = True
    """Install templates and the retention's policy. False: they are there already (docs/elasticsearch.md)."""
    retention: RetentionSettings = RetentionSettings()
    """How long documents are kept."""
    shards: int | None = Field(default=None, ge=1, le=1024)
    """Primary shards of a backing index. Default: Elasticsearch's."""
    replicas: int | None = Field(default=None, ge=0, le=32)
    """Default: Elasticsearch's."""
    once_across_rollovers: bool = True
    """Look for copies in older backing indices. Needs the privileges read, view_index_metadata and delete."""
    max_clock_ahead: Duration = Field(default=600.0, ge=1.0, le=86400.0)
    """A record from further in the future is stored under the time of its arrival, and its own kept beside it."""

    @field_validator("namespace")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAMESPACE.fullmatch(value):
            raise wrong("is no namespace of a data stream; write a-z, 0-9, _ and . only, at most 100")
        return value

    @model_validator(mode="after")
    def _retained(self) -> Self:
        if self.engine == "opensearch" and self.retention.type != "none":
            raise wrong(
                f"has retention of type {self.retention.type}, which OpenSearch does not know; write"
                " `retention: {type: none}`, and let a policy of its own see to it (docs/elasticsearch.md)"
            )
        return self


def build(settings: Settings, name: str, context: Context) -> ElasticsearchSink:
    """See registry. Nothing is sent yet: Elasticsearch may be down when the collector starts."""
    client = Client(connection(settings), context.clock)
    kept = settings.retention
    retention = Retention(kept.type, kept.rollover_bytes, kept.rollover_age, kept.delete_after)
    installer = None
    if settings.setup:
        found = pieces(retention, shards=settings.shards, replicas=settings.replicas, engine=settings.engine)
        installer = Installer(client, found)
    rollovers = OnceAcrossRollovers(client, settings.max_clock_ahead) if settings.once_across_rollovers else None
    return ElasticsearchSink(
        client,
        Encoder(settings.namespace, Timestamps(settings.max_clock_ahead)),
        installer,
        Streams(client) if settings.engine == "opensearch" else None,
        rollovers,
        Counts(context.telemetry.registry, name),
        context.clock,
        max_bytes=settings.max_bulk_bytes,
        max_records=settings.max_bulk_records,
    )
