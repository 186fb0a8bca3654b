"""OTLP's requests as batches, from protobuf and from JSON: what all signals share, and logs. Spans are in otlp_traces;
no I/O: gRPC and HTTP are in otlp_grpc and otlp_http.

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

from collectors.receivers.claims import Judge
from collectors.receivers.events import severity_of
from collectors.receivers.otlp_bounds import (
    RECORD_BYTES,
    TooMuch,
    check_copies,
    check_elements,
    check_json,
    check_parts,
)
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord

LOGS_TAG = "otlp.logs"
"""Tag of log records that came by OTLP."""

MAX_ATTRIBUTES = 1_024
"""Of one record, and elements of one list."""
_MAX_DEPTH = 16
_HEX_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
_WORKLOAD = ("remora.workload", "k8s.deployment.name", "k8s.pod.name", "service.instance.id")
"""Resource attributes that name a workload, best first."""
_OWN = frozenset(
    (PRINCIPAL_KEY, "workload", "namespace", "body", "trace_id", "span_id", "severity_text", "severity_number",
     "event.name", "observed_time", "otel.dropped_attributes_count", "k8s.namespace.name")
)  # fmt: skip
"""Keys of a record's body that attributes don't have: they are `attributes.KEY`."""


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


def decode_logs(body: bytes, judge: Judge | None, now: float, *, as_json: bool = False) -> Decoded:
    """An ExportLogsServiceRequest; `now`, in seconds, stands in for missing times. Raises MalformedRequest.

    OTLP's records have no ids. A request that is sent again is the same bytes, so those and the position make one.
    """
    request = parse(logs_service_pb2.ExportLogsServiceRequest, body, as_json)
    batch = Batch(size_bytes=4 * len(body))
    rejected, why, position, copied = 0, "", 0, 0
    # Of two senders that say the same, each has said it.
    sender = "" if judge is None else judge.principal
    digest = hashlib.blake2b(body, digest_size=16, key=hashlib.sha256(sender.encode()).digest()).hexdigest()
    for resource_logs in request.resource_logs:
        resource = attributes_of(resource_logs.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")
        workload = workload_of(resource, service)
        problem = "" if judge is None else judge.resource(resource, workload)
        count = sum(len(each.log_records) for each in resource_logs.scope_logs)
        if problem:
            rejected, why, position = rejected + count, problem, position + count
            continue
        copied = copies(copied, resource_logs.resource, count)
        resource["service.name"] = resource["service"] = service
        resource.pop("message", None)
        resource.pop(PRINCIPAL_KEY, None)
        if judge is not None:
            resource[PRINCIPAL_KEY] = judge.principal
        for scope_logs in resource_logs.scope_logs:
            common = {**resource, "otel.scope.name": scope_logs.scope.name} if scope_logs.scope.name else resource
            for record in scope_logs.log_records:
                batch.logs.append(_log(record, common, workload, f"otlp:{digest}/{position}", now))
                position += 1
    batch.size_bytes += RECORD_BYTES * len(batch)
    return Decoded(batch, rejected, why, rejected)


def _log(record: Any, common: dict[str, Any], workload: str, id_: str, now: float) -> LogRecord:
    """`common`: what the record's resource says, which is judged; what the record says of the same stands beside it."""
    body: dict[str, Any] = {"message": "", **common}
    for key, value in attributes_of(record.attributes).items():
        body[key if key not in body and key not in _OWN else f"attributes.{key}"] = value
    content = value_of(record.body, 0)
    if isinstance(content, (dict, list)):
        body["body"] = content
        text = content.get("message") if isinstance(content, dict) else None
        body["message"] = text if isinstance(text, str) else json.dumps(content, ensure_ascii=False)
    elif content is not None:
        body["message"] = content if isinstance(content, str) else str(content)
    trace_id = record.trace_id.hex() if len(record.trace_id) == 16 and any(record.trace_id) else None
    if trace_id is not None:
        body["trace_id"] = trace_id
        if len(record.span_id) == 8 and any(record.span_id):
            body["span_id"] = record.span_id.hex()
    said = {
        "severity_text": record.severity_text,
        "severity_number": record.severity_number,
        "event.name": record.event_name,
        "otel.dropped_attributes_count": record.dropped_attributes_count,
    }
    body.update((key, value) for key, value in said.items() if value)
    nanos = record.time_unix_nano or record.observed_time_unix_nano
    if record.time_unix_nano and record.observed_time_unix_nano:
        body["observed_time"] = record.observed_time_unix_nano / 1e9
    severity = _severity(record.severity_number, record.severity_text)
    return LogRecord(id_, nanos / 1e9 if nanos else now, LOGS_TAG, workload, severity, trace_id, body)


def logs_response(decoded: Decoded) -> Any:
    """The answer to `decode_logs`' request."""
    response = logs_service_pb2.ExportLogsServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_log_records = decoded.rejected
        response.partial_success.error_message = decoded.why
    return response


def parse(kind: Any, body: bytes, as_json: bool) -> Any:
    """A request of the protobuf class `kind`. Raises MalformedRequest."""
    try:
        if not as_json:
            check_parts(kind.DESCRIPTOR.name, body)
            check_elements(kind.DESCRIPTOR, body)
            return kind.FromString(body)
        check_json(body)
        document = json.loads(body)
        if not isinstance(document, dict):
            raise MalformedRequest("the body is no JSON object")
        request = json_format.ParseDict(_with_base64_ids(document, 0), kind(), ignore_unknown_fields=True)
        check_parts(kind.DESCRIPTOR.name, request.SerializeToString())
        return request
    except TooMuch as error:
        raise MalformedRequest(f"an {kind.DESCRIPTOR.name} {error}") from error
    except (DecodeError, json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise MalformedRequest(f"not an {kind.DESCRIPTOR.name}: {str(error)[:200]}") from error


def copies(copied: int, resource: Any, records: int) -> int:
    """`copied` bytes, and those of a resource that `records` records repeat. Raises MalformedRequest."""
    try:
        return check_copies(copied, resource.ByteSize(), records)
    except TooMuch as error:
        raise MalformedRequest(f"it {error}") from error


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


def workload_of(resource: dict[str, Any], service: str) -> str:
    """What a resource's records are shown as."""
    return next((str(resource[key]) for key in _WORKLOAD if resource.get(key)), service)


def attributes_of(pairs: Iterable[Any]) -> dict[str, Any]:
    """KeyValues as a dict of JSON's types; over the bound they are cut, and say so."""
    found: dict[str, Any] = {}
    for count, pair in enumerate(pairs):
        if count >= MAX_ATTRIBUTES:
            found["otel.attributes_cut"] = True
            break
        found[pair.key] = value_of(pair.value, 0)
    return found


def value_of(value: Any, depth: int) -> Any:
    """AnyValue as JSON's types."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if depth >= _MAX_DEPTH:
        return "…"
    match kind:
        case "array_value":
            return [value_of(one, depth + 1) for one in value.array_value.values[:MAX_ATTRIBUTES]]
        case "kvlist_value":
            pairs = value.kvlist_value.values[:MAX_ATTRIBUTES]
            return {pair.key: value_of(pair.value, depth + 1) for pair in pairs}
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
