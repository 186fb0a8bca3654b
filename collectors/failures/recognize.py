"""Records that tell of a failure, as failures.

Answers of 5xx are counted by the access records, which are complete; the proxies' spans are sampled and tell the same
again, so that only applications' spans count.
"""

import re
from collections.abc import Mapping
from typing import Any

from collectors.failures import stacktrace
from collectors.failures.failure import MAX_NAME_CHARS, MAX_SAMPLE_CHARS, MAX_TITLE_CHARS, Failure, cut, fingerprint
from collectors.failures.stacktrace import Raised
from collectors.failures.template import first_line, generalize
from collectors.records import LogRecord, SpanRecord
from mesh.records import ACCESS_TAG

_MESSAGE_KEYS = ("message", "msg", "log", "body", "error", "error.message")
_STACK_KEYS = (
    "exception.stacktrace", "error.stack_trace", "stack_trace", "stacktrace", "stack", "traceback", "exc_info",
    "exc_text", "exception",
)  # fmt: skip
_TYPE_KEYS = ("exception.type", "error.type", "exc_type")
_TEXT_KEYS = ("exception.message", "error.message")
_VERSION_KEYS = ("service.version", "version", "release", "app.version")
_LABEL_KEYS = ("app.kubernetes.io/version", "version")
_LOGGER_KEYS = ("logger", "logger_name", "log.logger", "otel.scope.name", "name")
_VERSION_SUFFIX = re.compile(r"-(v?\d[\w.]{0,30})\Z")
_PROXY_ATTRIBUTE = "response_flags"
"""Only the mesh's proxies give their spans one."""


def of_log(record: LogRecord) -> Failure | None:
    """The failure that a log record tells of."""
    if record.tag == ACCESS_TAG:
        return _of_answer(record) if record.severity == "error" else None
    body = record.body
    message = _first(body, _MESSAGE_KEYS)
    if record.severity == "error":
        raised = _raised(body)
    elif "\n" in message and (raised := stacktrace.parse(message)) is not None:
        pass  # from a stream that has no levels
    else:
        return None
    service = cut(_text(body.get("service")) or owner(record.workload), MAX_NAME_CHARS)
    key, release = (record.id, ""), _release(body, body, record.workload)
    sample = _first(body, _STACK_KEYS) or message
    if sample != message and message:
        sample = f"{message}\n{sample}"
    if raised is not None:
        return _of_exception(raised, key, service, record.workload, release, record.time, record.trace_id, sample)
    logger = _first(body, _LOGGER_KEYS)
    template = generalize(first_line(message)) or "an error without a message"
    return Failure(
        key,
        fingerprint("message", service, logger, template),
        "message",
        service,
        cut(record.workload, MAX_NAME_CHARS),
        cut(template, MAX_TITLE_CHARS),
        cut(logger, MAX_TITLE_CHARS),
        release,
        record.time,
        record.trace_id,
        cut(sample, MAX_SAMPLE_CHARS),
    )


def of_span(record: SpanRecord) -> Failure | None:
    """The failure that a span tells of."""
    if _PROXY_ATTRIBUTE in record.attributes:
        return None
    finish = record.start + record.duration_ms / 1000
    service = cut(record.service, MAX_NAME_CHARS)
    release = _release(record.resource, record.attributes, record.workload)
    key = (record.trace_id, record.span_id)
    for event in reversed(record.events):
        if event.get("name") != "exception":
            continue
        fields = event.get("attributes") or {}
        raised = _raised(fields) or Raised("exception", "", ())
        sample = _text(fields.get("exception.stacktrace")) or f"{raised.type}: {raised.message}"
        if not raised.frames:
            raised = raised._replace(frames=(record.name,))
        return _of_exception(raised, key, service, record.workload, release, finish, record.trace_id, sample)
    if not record.error:
        return None
    status = record.attributes.get("http.response.status_code", record.attributes.get("rpc.grpc.status_code", ""))
    template = generalize(first_line(record.status_message))
    title = " ".join(part for part in (str(status), record.name, template) if part)
    return Failure(
        key,
        fingerprint("span", service, record.name, str(status), template),
        "span",
        service,
        cut(record.workload, MAX_NAME_CHARS),
        cut(title, MAX_TITLE_CHARS),
        cut(record.name, MAX_TITLE_CHARS),
        release,
        finish,
        record.trace_id,
        cut(record.status_message or title, MAX_SAMPLE_CHARS),
    )


def owner(workload: str) -> str:
    """`reviews-v3` -> `reviews`: who a workload is, whichever its version."""
    return _VERSION_SUFFIX.sub("", workload) or workload


def _of_answer(record: LogRecord) -> Failure | None:
    body = record.body
    code, flags = body.get("response_code"), _text(body.get("response_flags")) or "-"
    if not isinstance(code, int) or code < 500:
        return None
    service = cut(owner(record.workload), MAX_NAME_CHARS)
    route, target = _text(body.get("route_name")), _text(body.get("destination_service"))
    outbound = body.get("direction") == "outbound"
    # What never reached a service has none: then what was asked for tells more.
    asked = target if target not in ("", "unknown") else _text(body.get("authority"))
    where = f"asking {asked or 'an unknown service'}" if outbound else "answering"
    title = f"{code} {flags} {where}" if flags != "-" else f"{code} {where}"
    told = (
        f"{_text(body.get('method'))} {_text(body.get('authority'))}{_text(body.get('path'))} -> {code} {flags} "
        f"{_text(body.get('response_code_details'))}"
    )
    reason = _text(body.get("upstream_transport_failure_reason"))
    return Failure(
        (record.id, ""),
        fingerprint("response", service, "outbound" if outbound else "inbound", target, route, str(code), flags),
        "response",
        service,
        cut(record.workload, MAX_NAME_CHARS),
        cut(title, MAX_TITLE_CHARS),
        cut(f"route {route}" if route else "no route", MAX_TITLE_CHARS),
        _release(body, body, record.workload),
        record.time,
        record.trace_id,
        cut(f"{told}\n{reason}" if reason else told, MAX_SAMPLE_CHARS),
    )


def _of_exception(
    raised: Raised, key: tuple[str, str], service: str, workload: str, release: str, time: float,
    trace_id: str | None, sample: str,
) -> Failure:  # fmt: skip
    kind = raised.type.rpartition(".")[2] or raised.type
    template = generalize(first_line(raised.message))
    # With frames the message does not matter: it names the one customer, file or number of that time.
    parts = raised.frames or (template,)
    return Failure(
        key,
        fingerprint("exception", service, raised.type, *parts),
        "exception",
        service,
        cut(workload, MAX_NAME_CHARS),
        cut(f"{kind}: {template}" if template else kind, MAX_TITLE_CHARS),
        cut(raised.frames[0] if raised.frames else "", MAX_TITLE_CHARS),
        release,
        time,
        trace_id,
        cut(sample, MAX_SAMPLE_CHARS),
    )


def _raised(fields: Mapping[str, Any]) -> Raised | None:
    """By the conventions' own fields, or out of a text that has a traceback."""
    stack = _first(fields, _STACK_KEYS)
    parsed = stacktrace.parse(stack) if stack else None
    kind = _first(fields, _TYPE_KEYS)
    if kind:
        frames = parsed.frames if parsed is not None else ()
        return Raised(kind, _first(fields, _TEXT_KEYS) or (parsed.message if parsed is not None else ""), frames)
    if parsed is not None:
        return parsed
    message = _first(fields, _MESSAGE_KEYS)
    return stacktrace.parse(message) if "\n" in message else None


def _release(resource: Mapping[str, Any], fields: Mapping[str, Any], workload: str) -> str:
    """As the record says it, its pod's labels, or the workload's name."""
    for source in (resource, fields):
        if found := _first(source, _VERSION_KEYS):
            return cut(found, 100)
    labels = fields.get("k8s.pod.labels")
    if isinstance(labels, dict) and (found := _first(labels, _LABEL_KEYS)):
        return cut(found, 100)
    match = _VERSION_SUFFIX.search(workload)
    return match[1] if match else ""


def _first(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        if text := _text(fields.get(key)):
            return text
    return ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
