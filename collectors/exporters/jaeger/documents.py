"""Spans as the documents that Jaeger keeps in Elasticsearch, field by field as Jaeger's own storage writes them. Pure.

What Jaeger makes of OpenTelemetry's fields: https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/; what
a document looks like: jaegertracing/jaeger, internal/storage/v1/elasticsearch/spanstore/internal/dbmodel.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from collectors.records import SpanRecord

Tag = dict[str, Any]
"""`{"key", "type", "value"}`; values are text; `type` says what they were: string, bool, int64, float64, binary."""

SPAN_INDEX, SERVICE_INDEX, DEPENDENCY_INDEX = "jaeger-span-", "jaeger-service-", "jaeger-dependencies-"
"""A day of UTC follows, as 2026-01-31."""
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_REFERENCE_KEY = "opentracing.ref_type"


def span_document(record: SpanRecord) -> dict[str, Any]:
    """A document of `jaeger-span-DAY`."""
    start_ns, end_ns = record.nanos()
    start_us = start_ns // 1_000
    document: dict[str, Any] = {
        "traceID": trace_id_text(record.trace_id),
        "spanID": record.span_id,
        "operationName": record.name,
        "references": references(record),
        "startTime": start_us,
        "startTimeMillis": start_us // 1_000,
        "duration": (end_ns - start_ns) // 1_000,
        "tags": span_tags(record),
        "logs": [_log(event) for event in record.events],
        "process": {"serviceName": record.service, "tags": process_tags(record)},
    }
    flags = record.flags & 0xFF  # the bits above are OTLP's own
    if flags:
        document["flags"] = flags
    return document


def service_document(service: str, operation: str) -> tuple[str, dict[str, str]]:
    """The id and the document of `jaeger-service-DAY`; the id is FNV-1a of both names, in hex without leading zeros."""
    digest = _FNV_OFFSET
    for byte in (service + operation).encode("utf-8", "replace"):
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFF_FFFF_FFFF_FFFF
    return f"{digest:x}", {"serviceName": service, "operationName": operation}


def trace_id_text(trace_id: str) -> str:
    """Of 32 hex digits 16, where the others are zero: an id of 64 bits."""
    return trace_id[16:] if trace_id.startswith("0" * 16) else trace_id


def day_of(time_us: int) -> str:
    """The day of an index, of microseconds since the epoch."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d")


def references(record: SpanRecord) -> list[dict[str, str]]:
    """The parent first: readers take the first CHILD_OF for it."""
    found: list[dict[str, str]] = []
    trace_id = trace_id_text(record.trace_id)
    if record.parent_id is not None:
        found.append({"refType": "CHILD_OF", "traceID": trace_id, "spanID": record.parent_id})
    for link in record.links:
        kind = "CHILD_OF" if link["attributes"].get(_REFERENCE_KEY) == "child_of" else "FOLLOWS_FROM"
        found.append({"refType": kind, "traceID": trace_id_text(link["trace_id"]), "spanID": link["span_id"]})
    return found


def span_tags(record: SpanRecord) -> list[Tag]:
    """Attributes, and what else of a span Jaeger has no field for."""
    said: dict[str, Any] = {}
    name, version = record.scope
    if name:
        said["otel.scope.name"] = name
    if version:
        said["otel.scope.version"] = version
    said |= record.attributes
    if record.kind:
        said["span.kind"] = record.kind
    if record.error:
        said["otel.status_code"], said["error"] = "ERROR", True
    elif record.ok:
        said["otel.status_code"] = "OK"
    if record.status_message:
        said["otel.status_description"] = record.status_message
    if record.trace_state:
        said["w3c.tracestate"] = record.trace_state
    for what, count in zip(("attributes", "events", "links"), record.dropped, strict=True):
        if count:
            said[f"otel.dropped_{what}_count"] = count
    return tags(said)


def process_tags(record: SpanRecord) -> list[Tag]:
    """The resource; where it is not known, the workload at least."""
    if not record.resource:
        return tags({"remora.workload": record.workload})
    return tags({key: value for key, value in record.resource.items() if key != "service.name"})


def _log(event: Mapping[str, Any]) -> dict[str, Any]:
    fields = tags(event["attributes"])
    if event["name"] and "event" not in event["attributes"]:
        fields.insert(0, {"key": "event", "type": "string", "value": event["name"]})
    return {"timestamp": event["time_ns"] // 1_000, "fields": fields}


def tags(attributes: Mapping[str, Any]) -> list[Tag]:
    """Attributes as Jaeger's key-values."""
    return [tag(key, value) for key, value in attributes.items()]


def tag(key: str, value: Any) -> Tag:
    """One of them; lists and maps become JSON."""
    match value:
        case str():
            return {"key": key, "type": "string", "value": value}
        case bool():
            return {"key": key, "type": "bool", "value": "true" if value else "false"}
        case int():
            return {"key": key, "type": "int64", "value": str(value)}
        case float():
            return {"key": key, "type": "float64", "value": repr(value)}
        case bytes():
            return {"key": key, "type": "binary", "value": base64.b64encode(value).decode("ascii")}
        case None:
            return {"key": key, "type": "string", "value": ""}
        case _:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
            return {"key": key, "type": "string", "value": text}


def has_tag(document: Mapping[str, Any], key: str, value: str) -> bool:
    """Whether a search for `key=value` finds the span: among its tags, its process' and its logs' fields."""

    def found(candidates: Iterable[Tag]) -> bool:
        return any(one["key"] == key and one["value"] == value for one in candidates)

    return (
        found(document["tags"])
        or found(document["process"]["tags"])
        or any(found(log["fields"]) for log in document["logs"])
    )
