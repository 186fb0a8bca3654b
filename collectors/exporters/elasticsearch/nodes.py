"""How an exporter reaches Elasticsearch: settings that all of them share, and the connection that they make."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from collectors.exporters.elasticsearch.client import Connection
from collectors.exporters.elasticsearch.engine import Engine
from collectors.exporters.http import ClientSettings, Url, refuse_what_no_header_can_hold, tls_context
from collectors.settings.types import Duration, SecretFile, wrong


class NodeSettings(ClientSettings):
    """Nodes and credentials."""

    timeout: Duration = Field(default=60.0, ge=0.1, le=300.0)
    """For one request, answer included."""
    urls: Annotated[tuple[Url, ...], Field(min_length=1, max_length=64)]
    """The nodes, asked in turn; one that fails is passed over."""
    engine: Engine = "elasticsearch"
    """What they are. It is not found out: an answer of the other one is refused."""
    api_key_file: SecretFile | None = None
    """The `encoded` form of an API key. Read for every request."""

    @model_validator(mode="after")
    def _connection(self) -> Self:
        if self.api_key_file is not None and (self.username or self.bearer_token_file):
            raise wrong("has an API key and other credentials; write one of them")
        refuse_what_no_header_can_hold(self.api_key_file)
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


def connection(settings: NodeSettings) -> Connection:
    """How to reach it. Raises OSError for TLS files that are none."""
    return Connection(
        urls=settings.urls,
        timeout_s=settings.timeout,
        compress=settings.compression == "gzip",
        connections=max(settings.buffer.parallel, 2),
        tls=tls_context(settings) if settings.urls[0].startswith("https:") else None,
        engine=settings.engine,
        api_key=settings.api_key_file,
        user=settings.username or "",
        password=settings.password_file,
        bearer_token=settings.bearer_token_file,
        headers=settings.headers,
        header_files=settings.header_files,
    )
