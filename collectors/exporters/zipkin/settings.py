"""`exporters.NAME` of type `zipkin`: spans to Zipkin's server, or whatever takes its v2 JSON."""

from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from collectors.exporters.http import HttpBackend, HttpSettings
from collectors.exporters.zipkin.sink import ZipkinSink
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import wrong


class Settings(HttpSettings):
    """`url` is the server's, `http://HOST:9411`; `/api/v2/spans` is added."""

    takes: ClassVar[frozenset[Signal]] = frozenset(("traces",))

    @model_validator(mode="after")
    def _base(self) -> Self:
        if urlsplit(self.url).path.endswith("/spans"):
            raise wrong("has a url that ends in /spans; leave /api/v2/spans off, the exporter adds it")
        return self


def build(settings: Settings, name: str, context: Context) -> ZipkinSink:
    """See settings.registry."""
    return ZipkinSink(HttpBackend(settings, context.clock))
