"""Documents as Jaeger's JSON (jaegertracing/jaeger, internal/uimodel): typed values, one table of processes a trace."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.query.backend import MAX_TRACE_SPANS, Document, Link

_SAFE_INTEGER = 2**53 - 1
"""Beyond it JavaScript rounds: then the number is text."""


def trace(documents: Sequence[Document]) -> dict[str, Any]:
    """One element of `data`."""
    processes: dict[str, str] = {}
    shown: dict[str, dict[str, Any]] = {}
    spans = []
    for document in documents:
        process = document["process"]
        tags = key_values(all_tags(process))
        key = json.dumps([process["serviceName"], tags], sort_keys=True)
        name = processes.get(key)
        if name is None:
            name = processes[key] = f"p{len(processes) + 1}"
            shown[name] = {"serviceName": process["serviceName"], "tags": tags}
        spans.append(_span(document, name))
    warnings = None
    if len(documents) >= MAX_TRACE_SPANS:
        warnings = [f"the trace has more than {MAX_TRACE_SPANS} spans: these are the first"]
    return {"traceID": documents[0]["traceID"], "spans": spans, "processes": shown, "warnings": warnings}


def _span(document: Document, process: str) -> dict[str, Any]:
    span: dict[str, Any] = {
        "traceID": document["traceID"],
        "spanID": document["spanID"],
        "operationName": document["operationName"],
        "references": [
            {name: reference[name] for name in ("refType", "traceID", "spanID")}
            for reference in document.get("references") or ()
        ],
        "startTime": document["startTime"],
        "duration": document["duration"],
        "tags": key_values(all_tags(document)),
        "logs": [
            {"timestamp": log["timestamp"], "fields": key_values(log.get("fields") or ())}
            for log in document.get("logs") or ()
        ],
        "processID": process,
        "warnings": None,
    }
    if document.get("flags"):
        span["flags"] = document["flags"]
    return span


def all_tags(holder: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A span's or a process', those included that were stored as fields (`tag.*`, dots replaced by `@`)."""
    tags = list(holder.get("tags") or ())
    for key, value in (holder.get("tag") or {}).items():
        tags.append(_typed(key.replace("@", "."), value))
    return tags


def _typed(key: str, value: Any) -> dict[str, Any]:
    kind = {bool: "bool", int: "int64", float: "float64"}.get(type(value), "string")
    return {"key": key, "type": kind, "value": value if kind != "string" else str(value)}


def key_values(tags: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """With values of their types."""
    return [
        {"key": tag["key"], "type": tag.get("type", "string"), "value": _value(tag.get("type"), tag["value"])}
        for tag in tags
    ]


def _value(kind: str | None, value: Any) -> Any:
    """What does not read as its type stays text, rather than the whole trace unread."""
    if not isinstance(value, str):
        return str(value) if type(value) is int and abs(value) > _SAFE_INTEGER else value
    match kind:
        case "bool":
            return value == "true"
        case "int64":
            try:
                number = int(value)
            except ValueError:
                return value
            return number if abs(number) <= _SAFE_INTEGER else value
        case "float64":
            try:
                real = float(value)
            except ValueError:
                return value
            return real if math.isfinite(real) else value
        case _:
            return value


def links(found: Iterable[Link], service: str) -> list[dict[str, Any]]:
    """Of /api/dependencies, added up; of `service` alone if it is named."""
    calls: dict[tuple[str, str], int] = {}
    for link in found:
        if not service or service in (link.parent, link.child):
            calls[link.parent, link.child] = calls.get((link.parent, link.child), 0) + link.calls
    return [{"parent": parent, "child": child, "callCount": count} for (parent, child), count in sorted(calls.items())]
