"""OTLP's requests as batches, from protobuf and from JSON. No I/O; gRPC and HTTP are in otlp_grpc and otlp_http.

What cannot be stored is refused item by item and counted, for the answer's partial success (opentelemetry-proto,
docs/specification.md): a span without valid ids or times, and all of a resource that is not the sender's.
"""

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collectors.receivers.claims import Judge
from collectors.receivers.events import severity_of
from collectors.records import PRINCIPAL_ATTRIBUTE, PRINCIPAL_KEY, Batch, LogRecord, SpanRecord

LOGS_TAG = "otlp.logs"
"""Tag of log records that came by OTLP."""

_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
"""By SpanKind; unspecified counts as internal, as the specification says."""
_ERROR = 2
"""Status.StatusCode."""
_MAX_ATTRIBUTES = 1_024
_MAX_EVENTS = 128
_MAX_DEPTH = 16
_HEX_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_WORKLOAD = ("remora.workload", "k8s.deployment.name", "k8s.pod.name", "service.instance.id")
"""Resource attributes that name a workload, best first."""


class MalformedRequest(Exception):
    """The body is no such request."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request, and what of it cannot be stored."""

    batch: Batch
    rejected: int
    why: str
    foreign: int = 0
    """Of the rejected: those that said what their sender may not say."""


def decode_traces(body: bytes, judge: Judge, *, as_json: bool = False) -> Decoded:
    """An ExportTraceServiceRequest of whom `judge` knows. Raises MalformedRequest."""
    request = _parse(trace_service_pb2.ExportTraceServiceRequest, body, as_json)
    batch = Batch(size_bytes=4 * len(body))
    rejected, foreign, why = 0, 0, ""
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")
        workload = _workload(resource, service)
        problem = judge.resource(resource, workload)
        if problem:
            count = sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
            rejected, foreign, why = rejected + count, foreign + count, problem
            continue
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                problem = _span_problem(span)
                if problem:
                    rejected, why = rejected + 1, problem
                else:
                    batch.spans.append(_span(span, service, workload, judge.principal))
    return Decoded(batch, rejected, why, foreign)


def decode_logs(body: bytes, judge: Judge, now: float, *, as_json: bool = False) -> Decoded:
    """An ExportLogsServiceRequest; `now`, in seconds, stands in for missing times. Raises MalformedRequest.

    OTLP's records have no ids. A request that is sent again is the same bytes, so those and the position make one.
    """
    request = _parse(logs_service_pb2.ExportLogsServiceRequest, body, as_json)
    batch = Batch(size_bytes=4 * len(body))
    rejected, why = 0, ""
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")
        workload = _workload(resource, service)
        problem = judge.resource(resource, workload)
        if problem:
            rejected, why = rejected + sum(len(each.log_records) for each in resource_logs.scope_logs), problem
            continue
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                nanos = record.time_unix_nano or record.observed_time_unix_nano
                message = _value(record.body, 0)
                fields = _attributes(record.attributes)
                fields.pop("message", None)
                fields.setdefault("service", service)
                fields[PRINCIPAL_KEY] = judge.principal
                trace_id = record.trace_id.hex() if len(record.trace_id) == 16 and any(record.trace_id) else None
                batch.logs.append(
                    LogRecord(
                        id=f"otlp:{digest}/{len(batch.logs)}",
                        time=nanos / 1e9 if nanos else now,
                        tag=LOGS_TAG,
                        workload=workload,
                        severity=_severity(record.severity_number, record.severity_text),
                        trace_id=trace_id,
                        body={"message": message, **fields},
                    )
                )
    return Decoded(batch, rejected, why, rejected)


def trace_response(decoded: Decoded) -> Any:
    """The answer to `decode_traces`' request."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_spans = decoded.rejected
        response.partial_success.error_message = decoded.why
    return response


def logs_response(decoded: Decoded) -> Any:
    """The answer to `decode_logs`' request."""
    response = logs_service_pb2.ExportLogsServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_log_records = decoded.rejected
        response.partial_success.error_message = decoded.why
    return response


def _parse(kind: Any, body: bytes, as_json: bool) -> Any:
    try:
        if not as_json:
            return kind.FromString(body)
        document = json.loads(body)
        if not isinstance(document, dict):
            raise MalformedRequest("the body is no JSON object")
        return json_format.ParseDict(_with_base64_ids(document, 0), kind(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise MalformedRequest(f"not an {kind.DESCRIPTOR.name}: {str(error)[:200]}") from error


def _with_base64_ids(value: Any, depth: int) -> Any:
    """OTLP's JSON has ids in hex, where protobuf's own mapping has base64."""
    if depth > 64:
        raise MalformedRequest("too deeply nested")
    if isinstance(value, list):
        return [_with_base64_ids(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    converted = {}
    for key, one in value.items():
        if key in _HEX_IDS and isinstance(one, str):
            try:
                converted[key] = base64.b64encode(binascii.unhexlify(one)).decode("ascii")
            except (binascii.Error, ValueError) as error:
                raise MalformedRequest(f"{key} is not hexadecimal") from error
        else:
            converted[key] = _with_base64_ids(one, depth + 1)
    return converted


def _span_problem(span: Any) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "a span needs a trace_id of 16 bytes, not all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "a span needs a span_id of 8 bytes, not all zero"
    if not span.start_time_unix_nano or not span.end_time_unix_nano:
        return "a span needs a start and an end"
    return ""


def _span(span: Any, service: str, workload: str, principal: str) -> SpanRecord:
    attributes = _attributes(span.attributes)
    attributes[PRINCIPAL_ATTRIBUTE] = principal
    if span.status.message:
        attributes["otel.status_description"] = span.status.message
    if span.events:
        attributes["otel.events"] = [
            {"name": event.name, "time": event.time_unix_nano / 1e9, **_attributes(event.attributes)}
            for event in span.events[:_MAX_EVENTS]
        ]
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if len(span.parent_span_id) == 8 and any(span.parent_span_id) else None,
        service=service,
        workload=workload,
        name=span.name,
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
        start=start_ns / 1e9,
        duration_ms=max(0, end_ns - start_ns) / 1e6,  # clocks may have been set back in between
        error=span.status.code == _ERROR,
        attributes=attributes,
    )


def _workload(resource: dict[str, Any], service: str) -> str:
    return next((str(resource[key]) for key in _WORKLOAD if resource.get(key)), service)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        if len(found) >= _MAX_ATTRIBUTES:
            found["otel.attributes_cut"] = True
            break
        found[pair.key] = _value(pair.value, 0)
    return found


def _value(value: Any, depth: int) -> Any:
    """AnyValue as JSON's types."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if depth >= _MAX_DEPTH:
        return "…"
    match kind:
        case "array_value":
            return [_value(one, depth + 1) for one in value.array_value.values[:_MAX_ATTRIBUTES]]
        case "kvlist_value":
            pairs = value.kvlist_value.values[:_MAX_ATTRIBUTES]
            return {pair.key: _value(pair.value, depth + 1) for pair in pairs}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case _:
            return getattr(value, kind)


def _severity(number: int, text: str) -> str:
    if number >= 17:
        return "error"
    if number >= 13:
        return "warning"
    if number >= 9:
        return "info"
    return "debug" if number >= 1 else severity_of({"severity": text})
