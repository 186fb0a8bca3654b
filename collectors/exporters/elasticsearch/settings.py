"""`exporters.NAME` of type elasticsearch."""

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from collectors.exporters.elasticsearch.client import Client, Connection
from collectors.exporters.elasticsearch.counts import Counts
from collectors.exporters.elasticsearch.documents import Encoder
from collectors.exporters.elasticsearch.install import Installer
from collectors.exporters.elasticsearch.rollover import OnceAcrossRollovers
from collectors.exporters.elasticsearch.sink import ElasticsearchSink
from collectors.exporters.elasticsearch.templates import Retention, pieces
from collectors.exporters.elasticsearch.times import Timestamps
from collectors.exporters.http import ClientSettings, Url, tls_context
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model, SecretFile, Size, wrong

_NAMESPACE = re.compile(r"[a-z0-9_.]{1,100}")


class RetentionSettings(Model):
    """`retention`: how data streams roll over and end."""

    type: Literal["ilm", "data_stream", "none"] = "ilm"
    """ILM; the data stream lifecycle (serverless has no other); none: somebody else sees to it."""
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


class Settings(ClientSettings):
    """Elasticsearch 8.13 to 9."""

    takes: ClassVar[frozenset[Signal]] = frozenset({"logs", "metrics"})

    timeout: Duration = Field(default=60.0, ge=0.1, le=300.0)
    """For one request, answer included."""
    urls: Annotated[tuple[Url, ...], Field(min_length=1, max_length=64)]
    """The nodes, asked in turn; one that fails is passed over."""
    api_key_file: SecretFile | None = None
    """The `encoded` form of an API key. Read for every request."""
    namespace: str = "default"
    """The last word of the data streams' names: `logs-remora.access-NAMESPACE`."""
    max_bulk_bytes: Size = Field(default=8 << 20, ge=64 << 10, le=64 << 20)
    """Of one request, before compression. Elasticsearch's own bound is 100 MiB (http.max_content_length)."""
    max_bulk_records: int = Field(default=5_000, ge=1, le=50_000)
    setup: bool = True
    """Install templates and the retention's policy. False: they are there already (docs/elasticsearch.md)."""
    retention: RetentionSettings = RetentionSettings()
    shards: int | None = Field(default=None, ge=1, le=1024)
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
    def _connection(self) -> Self:
        if self.api_key_file is not None and (self.username or self.bearer_token_file):
            raise wrong("has an API key and other credentials; write one of them")
        if len({urlsplit(url).scheme for url in self.urls}) > 1:
            raise wrong("has http and https in urls; write one of them for all")
        if self.urls[0].startswith("http:"):
            if self.ca_file or self.cert_file:
                raise wrong("has files for TLS and urls without it; write https, or leave the files out")
            for url in self.urls:
                self.refuse_plaintext_secrets(urlsplit(url).hostname or "")
        return self

    @property
    def has_credentials(self) -> bool:
        """Whether a request carries a secret."""
        return self.api_key_file is not None or super().has_credentials


def connection(settings: Settings) -> Connection:
    """How to reach it. Raises OSError for TLS files that are none."""
    return Connection(
        urls=settings.urls,
        timeout_s=settings.timeout,
        compress=settings.compression == "gzip",
        connections=max(settings.buffer.parallel, 2),
        tls=tls_context(settings) if settings.urls[0].startswith("https:") else None,
        api_key=settings.api_key_file,
        user=settings.username or "",
        password=settings.password_file,
        bearer_token=settings.bearer_token_file,
        headers=settings.headers,
        header_files=settings.header_files,
    )


def build(settings: Settings, name: str, context: Context) -> ElasticsearchSink:
    """See registry. Nothing is sent yet: Elasticsearch may be down when the collector starts."""
    client = Client(connection(settings), context.clock)
    kept = settings.retention
    retention = Retention(kept.type, kept.rollover_bytes, kept.rollover_age, kept.delete_after)
    installer = None
    if settings.setup:
        installer = Installer(client, pieces(retention, shards=settings.shards, replicas=settings.replicas))
    rollovers = OnceAcrossRollovers(client, settings.max_clock_ahead) if settings.once_across_rollovers else None
    return ElasticsearchSink(
        client,
        Encoder(settings.namespace, Timestamps(settings.max_clock_ahead)),
        installer,
        rollovers,
        Counts(context.telemetry.registry, name),
        context.clock,
        max_bytes=settings.max_bulk_bytes,
        max_records=settings.max_bulk_records,
    )
