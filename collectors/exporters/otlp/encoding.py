"""Records as OTLP messages (opentelemetry-proto v1). The receivers' counterpart: what came by OTLP leaves as it was."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.records import LogRecord, SpanRecord

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_OK, _ERROR = 1, 2
_SEVERITIES = {"debug": (5, "DEBUG"), "info": (9, "INFO"), "warning": (13, "WARN"), "error": (17, "ERROR")}
_INT64 = range(-(2**63), 2**63)
_MAX_DEPTH = 32


def encode_spans(records: Sequence[SpanRecord]) -> bytes:
    """An ExportTraceServiceRequest: spans of the same resource, and then of the same scope, together."""
    request = ExportTraceServiceRequest()
    resources: dict[str, Any] = {}
    scopes: dict[tuple[str, str, str], Any] = {}
    keys: dict[int, str] = {}
    for record in records:
        key = keys.get(id(record.resource)) if record.resource else None
        if key is None:
            resource = record.resource or {"service.name": record.service, "remora.workload": record.workload}
            key = json.dumps(resource, sort_keys=True, default=str)
            if record.resource:
                keys[id(record.resource)] = key
            if key not in resources:
                resources[key] = request.resource_spans.add()
                _fill(resources[key].resource.attributes, resource)
        name, version = record.scope
        scope = scopes.get((key, name, version))
        if scope is None:
            scope = scopes[key, name, version] = resources[key].scope_spans.add()
            scope.scope.name, scope.scope.version = _text(name), _text(version)
        _span(scope.spans.add(), record)
    return bytes(request.SerializeToString())


def _span(span: Any, record: SpanRecord) -> None:
    span.trace_id, span.span_id = bytes.fromhex(record.trace_id), bytes.fromhex(record.span_id)
    if record.parent_id is not None:
        span.parent_span_id = bytes.fromhex(record.parent_id)
    span.name, span.trace_state, span.flags = _text(record.name), _text(record.trace_state), record.flags
    span.kind = _KINDS.get(record.kind, 0)
    span.start_time_unix_nano, span.end_time_unix_nano = record.nanos()
    _fill(span.attributes, record.attributes)
    for said in record.events:
        event = span.events.add(name=_text(said["name"]), time_unix_nano=said["time_ns"])
        _fill(event.attributes, said["attributes"])
    for said in record.links:
        link = span.links.add(
            trace_id=bytes.fromhex(said["trace_id"]),
            span_id=bytes.fromhex(said["span_id"]),
            trace_state=_text(said["trace_state"]),
        )
        _fill(link.attributes, said["attributes"])
    span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count = record.dropped
    if record.error:
        span.status.code = _ERROR
    elif record.ok:
        span.status.code = _OK
    if record.status_message:
        span.status.message = _text(record.status_message)


def encode_logs(records: Iterable[LogRecord]) -> bytes:
    """An ExportLogsServiceRequest. The id goes along as `log.record.uid`, by which a back end knows what it has."""
    request = ExportLogsServiceRequest()
    resources: dict[str, Any] = {}
    for record in records:
        lines = resources.get(record.workload)
        if lines is None:
            resource_logs = request.resource_logs.add()
            _fill(resource_logs.resource.attributes, {"service.name": record.workload})
            lines = resources[record.workload] = resource_logs.scope_logs.add().log_records
        number, text = _SEVERITIES.get(record.severity, (0, ""))
        line = lines.add(
            time_unix_nano=max(0, min(round(record.time * 1e6) * 1_000, 2**64 - 1)),
            severity_number=number,
            severity_text=text,
        )
        attributes = dict(record.body)
        message = next((attributes.pop(key) for key in ("message", "msg", "log") if key in attributes), None)
        if message is not None:
            _value(line.body, message, 0)
        attributes["log.record.uid"] = record.id
        attributes["remora.tag"] = record.tag
        _fill(line.attributes, attributes)
        if record.trace_id is not None:
            line.trace_id = bytes.fromhex(record.trace_id)
        span_id = attributes.get("span_id")
        if isinstance(span_id, str) and len(span_id) == 16:
            try:
                line.span_id = bytes.fromhex(span_id)
            except ValueError:
                pass  # an application's word; it stays among the attributes
    return bytes(request.SerializeToString())


def _fill(pairs: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        _value(pairs.add(key=_text(str(key))).value, value, 0)


def _value(into: Any, value: Any, depth: int) -> None:
    """An AnyValue. What it has no type for becomes text."""
    if isinstance(value, str):
        into.string_value = _text(value)
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int):
        if value in _INT64:
            into.int_value = value
        else:
            into.string_value = str(value)
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, bytes):
        into.bytes_value = value
    elif value is None:
        return  # an AnyValue without a value
    elif depth >= _MAX_DEPTH:
        into.string_value = "…"
    elif isinstance(value, list | tuple):
        into.array_value.SetInParent()
        for one in value:
            _value(into.array_value.values.add(), one, depth + 1)
    elif isinstance(value, dict):
        into.kvlist_value.SetInParent()
        for key, one in value.items():
            _value(into.kvlist_value.values.add(key=_text(str(key))).value, one, depth + 1)
    else:
        into.string_value = _text(str(value))


def _text(value: str) -> str:
    """Without lone surrogates, which protobuf refuses."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
