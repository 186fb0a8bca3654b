"""`exporters.NAME` of type `otlp`: all signals to whatever speaks OTLP, another collector of ours included."""

from collections.abc import Collection
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from collectors.exporters.http import HttpBackend, HttpSettings
from collectors.exporters.otlp.grpc_client import GrpcClient
from collectors.exporters.otlp.http_client import HttpClient
from collectors.exporters.otlp.sink import OtlpSink
from collectors.settings.buffers import Signal
from collectors.settings.context import Context
from collectors.settings.types import wrong


class Settings(HttpSettings):
    """`url` is that of the back end without `/v1/...`: `https://HOST:4317` (grpc), `https://HOST:4318` (http)."""

    protocol: Literal["grpc", "http"] = "grpc"
    """gRPC, or HTTP with protobuf bodies."""

    takes: ClassVar[frozenset[Signal]] = frozenset(("traces", "logs", "metrics"))

    def in_order(self, carried: Collection[Signal]) -> bool:
        """Prometheus and its like refuse a point that is older than the last of its series."""
        return "metrics" in carried

    @model_validator(mode="after")
    def _no_path(self) -> Self:
        parts = urlsplit(self.url)
        if self.protocol == "grpc" and parts.path:
            raise wrong(f"has a path in its url, which gRPC has no use for; write {parts.scheme}://{parts.netloc}")
        if self.protocol == "grpc" and parts.port is None:
            raise wrong("has no port in its url; OTLP over gRPC is on 4317 by default")
        if parts.path.endswith(("/v1/traces", "/v1/logs", "/v1/metrics")):
            end = parts.path[parts.path.rindex("/v1/") :]
            raise wrong(f"has a url that ends in {end}; leave that off, the exporter adds it")
        return self


def build(settings: Settings, name: str, context: Context) -> OtlpSink:
    """See settings.registry."""
    if settings.protocol == "grpc":
        return OtlpSink(GrpcClient(settings))
    return OtlpSink(HttpClient(HttpBackend(settings, context.clock)))
