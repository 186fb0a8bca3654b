"""Spans in Zipkin's v2 model, as OpenTelemetry maps them.

https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/, and for links, which that page leaves open, the
tags of the OpenTelemetry Collector's exporter: `otlp.link.N` = `TRACE|SPAN|STATE|ATTRIBUTES|DROPPED`.
"""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from collectors.records import SpanRecord

_KINDS = {"server": "SERVER", "client": "CLIENT", "producer": "PRODUCER", "consumer": "CONSUMER"}
"""An internal span has none."""
_CALLING = ("client", "producer")
_REMOTE_NAMES = (
    ("peer.service", None),
    ("server.address", "server.port"),
    ("net.peer.name", "net.peer.port"),
    ("network.peer.address", "network.peer.port"),
    ("server.socket.domain", None),
    ("server.socket.address", "server.socket.port"),
    ("net.sock.peer.name", None),
    ("net.sock.peer.addr", "net.sock.peer.port"),
    ("peer.hostname", None),
    ("peer.address", None),
    ("db.name", None),
)
"""Attributes that name whom a span talked to, the most telling first, each with that of the port."""
_REMOTE_OF_CALLED = (("client.address", "client.port"), ("network.peer.address", "network.peer.port"))


def zipkin_span(record: SpanRecord) -> dict[str, Any]:
    """One element of POST /api/v2/spans."""
    start_ns, end_ns = record.nanos()
    span: dict[str, Any] = {
        "traceId": record.trace_id,
        "id": record.span_id,
        "name": record.name,
        "timestamp": start_ns // 1_000,
        # Zero would read as unknown.
        "duration": max(1, (end_ns - start_ns) // 1_000),
        "localEndpoint": _local(record),
        "tags": _tags(record),
    }
    if record.parent_id is not None:
        span["parentId"] = record.parent_id
    if record.kind in _KINDS:
        span["kind"] = _KINDS[record.kind]
    remote = _remote(record)
    if remote:
        span["remoteEndpoint"] = remote
    if record.events:
        span["annotations"] = [
            {"timestamp": event["time_ns"] // 1_000, "value": _annotation(event)} for event in record.events
        ]
    return span


def _tags(record: SpanRecord) -> dict[str, str]:
    said = {**record.resource, **record.attributes}
    said.pop("service.name", None)
    # Zipkin takes any span with this tag for a failed one, `error: false` too.
    said.pop("error", None)
    tags = {key: text_of(value) for key, value in said.items() if value is not None}
    name, version = record.scope
    if name:
        tags["otel.scope.name"] = name
    if version:
        tags["otel.scope.version"] = version
    if record.trace_state:
        tags["w3c.tracestate"] = record.trace_state
    if record.error:
        tags["otel.status_code"] = "ERROR"
        tags["error"] = record.status_message
    elif record.ok:
        tags["otel.status_code"] = "OK"
    for what, count in zip(("attributes", "events", "links"), record.dropped, strict=True):
        if count:
            tags[f"otel.dropped_{what}_count"] = str(count)
    for number, link in enumerate(record.links):
        attributes = json.dumps(link["attributes"], ensure_ascii=False, separators=(",", ":"))
        tags[f"otlp.link.{number}"] = f"{link['trace_id']}|{link['span_id']}|{link['trace_state']}|{attributes}|0"
    return tags


def _local(record: SpanRecord) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"serviceName": record.service}
    address = record.attributes.get("network.local.address")
    if isinstance(address, str):
        endpoint |= _address(address)
        endpoint |= _port(record.attributes, "network.local.port")
    return endpoint


def _remote(record: SpanRecord) -> dict[str, Any]:
    attributes = record.attributes
    for name, port in _REMOTE_NAMES if record.kind in _CALLING else _REMOTE_OF_CALLED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            continue
        endpoint = _address(value)
        if not endpoint:
            # An address of a client that is no IP address is a name that it says of itself.
            endpoint = {"serviceName": value}
        if port is not None:
            endpoint |= _port(attributes, port)
        return endpoint
    return {}


def _address(text: str) -> dict[str, Any]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return {}
    return {f"ipv{address.version}": str(address)}


def _port(attributes: Mapping[str, Any], key: str) -> dict[str, int]:
    value = attributes.get(key)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:6])
    return {"port": value} if isinstance(value, int) and 0 < value < 65536 else {}


def _annotation(event: dict[str, Any]) -> str:
    if not event["attributes"]:
        return str(event["name"])
    return f'"{event["name"]}": {json.dumps(event["attributes"], ensure_ascii=False)}'


def text_of(value: Any) -> str:
    """A tag's value: text as it is, everything else as JSON writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=str)
