"""Workers' spans -> the OpenTelemetry SDK's spans -> OTLP. Imported with the first batch: the SDK is large."""

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sidecar.agent.node import VERSION
from sidecar.config.messages import Span

_SCOPE = InstrumentationScope("remora", VERSION)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_INTEGERS = ("status_code", ".size", ".port", ".resend_count")
"""Endings of attribute keys whose values are numbers; the channel carries them as decimal text."""

_ERROR = Status(StatusCode.ERROR)
_UNSET = Status(StatusCode.UNSET)


class SpanEncoder:
    """For the spans of one workload."""

    def __init__(self, resource: dict[str, str]) -> None:
        self._resource = Resource(resource)

    def encode(self, spans: list[Span]) -> bytes:
        """An ExportTraceServiceRequest."""
        return bytes(encode_spans([self._readable(span) for span in spans]).SerializeToString())

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        parent = None if span.parent_id is None else SpanContext(trace_id, int(span.parent_id, 16), True, _SAMPLED)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes={key: _value(key, text) for key, text in span.attributes},
            kind=SpanKind.SERVER if span.server else SpanKind.CLIENT,
            status=_ERROR if span.error else _UNSET,
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )


def _value(key: str, text: str) -> str | int:
    if key.endswith(_INTEGERS) and text.isascii() and text.isdigit():
        return int(text)
    return text
