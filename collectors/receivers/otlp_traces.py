"""OTLP's spans as records (opentelemetry-proto, trace/v1/trace.proto). No I/O."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collectors.receivers.claims import Judge
from collectors.receivers.otlp import MAX_ATTRIBUTES, Decoded, attributes_of, copies, parse, workload_of
from collectors.receivers.otlp_bounds import RECORD_BYTES
from collectors.records import PRINCIPAL_ATTRIBUTE, Batch, SpanRecord

MAX_EVENTS = 128
"""Of a span, and as many links; what is beyond is left out and counted in its record."""
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
"""By SpanKind; unspecified counts as internal, as the specification says."""
_OK, _ERROR = 1, 2
"""Status.StatusCode."""
_LAST_NS = 253_402_300_799 * 10**9
"""The end of the year 9999. What is later no back end can date."""


def decode_traces(body: bytes, judge: Judge | None, *, as_json: bool = False) -> Decoded:
    """An ExportTraceServiceRequest of whom `judge` knows; None: nobody vouches for it. Raises MalformedRequest."""
    request = parse(trace_service_pb2.ExportTraceServiceRequest, body, as_json)
    batch = Batch(size_bytes=4 * len(body))
    rejected, foreign, why, copied = 0, 0, "", 0
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")
        workload = workload_of(resource, service)
        problem = "" if judge is None else judge.resource(resource, workload)
        count = sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
        if problem:
            rejected, foreign, why = rejected + count, foreign + count, problem
            continue
        copied = copies(copied, resource_spans.resource, count)
        origin = _Origin(resource, service, workload, None if judge is None else judge.principal)
        for scope_spans in resource_spans.scope_spans:
            scope = (scope_spans.scope.name, scope_spans.scope.version)
            for span in scope_spans.spans:
                problem = _problem(span)
                if problem:
                    rejected, why = rejected + 1, problem
                else:
                    batch.spans.append(origin.record(span, scope))
    batch.size_bytes += RECORD_BYTES * len(batch)
    return Decoded(batch, rejected, why, foreign)


def trace_response(decoded: Decoded) -> Any:
    """The answer to `decode_traces`' request."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_spans = decoded.rejected
        response.partial_success.error_message = decoded.why
    return response


def _problem(span: Any) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "a span needs a trace_id of 16 bytes, not all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "a span needs a span_id of 8 bytes, not all zero"
    if not span.start_time_unix_nano or not span.end_time_unix_nano:
        return "a span needs a start and an end"
    if max(span.start_time_unix_nano, span.end_time_unix_nano) > _LAST_NS:
        return "a span needs a start and an end before the year 10000"
    return ""


class _Origin:
    """A resource, and who vouches for it."""

    def __init__(self, resource: dict[str, Any], service: str, workload: str, principal: str | None) -> None:
        self._resource = resource
        self._service = service
        self._workload = workload
        self._principal = principal

    def record(self, span: Any, scope: tuple[str, str]) -> SpanRecord:
        attributes = attributes_of(span.attributes)
        # Never the sender's word: its certificate's, or nobody's.
        attributes.pop(PRINCIPAL_ATTRIBUTE, None)
        if self._principal is not None:
            attributes[PRINCIPAL_ATTRIBUTE] = self._principal
        start_ns = span.start_time_unix_nano
        end_ns = max(start_ns, span.end_time_unix_nano)  # clocks may have been set back in between
        return SpanRecord(
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=_id(span.parent_span_id, 8) or None,
            service=self._service,
            workload=self._workload,
            name=span.name,
            kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
            start=start_ns / 1e9,
            duration_ms=(end_ns - start_ns) / 1e6,
            error=span.status.code == _ERROR,
            attributes=attributes,
            resource=self._resource,
            scope=scope,
            ok=span.status.code == _OK,
            status_message=span.status.message,
            events=_events(span.events),
            links=_links(span.links),
            trace_state=span.trace_state,
            flags=span.flags,
            start_ns=start_ns,
            end_ns=end_ns,
            dropped=(
                span.dropped_attributes_count + max(0, len(span.attributes) - MAX_ATTRIBUTES),
                span.dropped_events_count + max(0, len(span.events) - MAX_EVENTS),
                span.dropped_links_count + max(0, len(span.links) - MAX_EVENTS),
            ),
        )


def _events(events: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": event.name,
            "time_ns": min(event.time_unix_nano, _LAST_NS),
            "attributes": attributes_of(event.attributes),
        }
        for event in events[:MAX_EVENTS]
    ]


def _links(links: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "trace_id": _id(link.trace_id, 16),
            "span_id": _id(link.span_id, 8),
            "trace_state": link.trace_state,
            "attributes": attributes_of(link.attributes),
        }
        for link in links[:MAX_EVENTS]
        # One that leads nowhere is no link (trace.proto: both ids are required).
        if _id(link.trace_id, 16) and _id(link.span_id, 8)
    ]


def _id(value: bytes, length: int) -> str:
    """In hex; empty for what is no id."""
    return value.hex() if len(value) == length and any(value) else ""
