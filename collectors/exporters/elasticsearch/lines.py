"""An application's log line under ECS's names. Pure."""

import re
from typing import Any

from collectors.records import PRINCIPAL_KEY, LogRecord
from collectors.store.message import text_of

MAX_MESSAGE_CHARS = 256 * 1024
"""Of a longer message this much is searched (Elasticsearch highlights no text of more than a million characters, and
Kibana then shows none of its page); `event.original` has the whole."""

CUT_TAG = "remora-message-cut"

_MESSAGE_KEYS = ("message", "msg", "log", "body")

PLACES: dict[str, tuple[str, str]] = {
    "service.name": ("service", "name"),
    "service": ("service", "name"),
    "service.version": ("service", "version"),
    "service.instance.id": ("service", "id"),
    "service.namespace": ("service", "namespace"),
    "version": ("service", "version"),
    "k8s.pod.name": ("kubernetes.pod", "name"),
    "k8s.pod.uid": ("kubernetes.pod", "uid"),
    "k8s.node.name": ("kubernetes.node", "name"),
    "k8s.namespace.name": ("kubernetes", "namespace"),
    "k8s.container.name": ("kubernetes.container", "name"),
    "k8s.deployment.name": ("kubernetes.deployment", "name"),
    "container.id": ("container", "id"),
    "container.name": ("container", "name"),
    "container.image.name": ("container.image", "name"),
    "host.name": ("host", "name"),
    "exception.type": ("error", "type"),
    "exception.message": ("error", "message"),
    "exception.stacktrace": ("error", "stack_trace"),
    "logger": ("log", "logger"),
    "logger_name": ("log", "logger"),
    "log.file.path": ("log.file", "path"),
    "log.iostream": ("remora", "output"),
    "stream": ("remora", "output"),
    "workload": ("remora", "workload"),
    PRINCIPAL_KEY: ("remora", "peer_principal"),
}
"""Key of the body, when its value is text: group and name. OpenTelemetry's names beside what loggers write."""

KUBERNETES: dict[str, tuple[str, str]] = {
    "pod_name": ("kubernetes.pod", "name"),
    "pod": ("kubernetes.pod", "name"),
    "pod_id": ("kubernetes.pod", "uid"),
    "pod_uid": ("kubernetes.pod", "uid"),
    "namespace_name": ("kubernetes", "namespace"),
    "namespace": ("kubernetes", "namespace"),
    "container_name": ("kubernetes.container", "name"),
    "container": ("kubernetes.container", "name"),
    "node": ("kubernetes.node", "name"),
    "host": ("kubernetes.node", "name"),
    "container_image": ("container.image", "name"),
    "container_id": ("container", "id"),
    "docker_id": ("container", "id"),
}
"""The same below the key `kubernetes`, as Fluentd's and Fluent Bit's filters name them."""

_SPAN_ID = re.compile("[0-9a-f]{16}")


def line_fields(record: LogRecord) -> dict[str, Any]:
    """Without what every document has. Lists and maps have no place but `kubernetes` and its labels: attributes."""
    groups: dict[str, dict[str, Any]] = {}
    rest: dict[str, Any] = {}
    shown = next((key for key in _MESSAGE_KEYS if key in record.body), None)
    labels: dict[str, Any] = {}
    for key, value in record.body.items():
        if value is None or key == shown or (key == "trace_id" and record.trace_id is not None):
            continue
        place = PLACES.get(key)
        if place is not None and type(value) is str:
            # Two names of one thing that say different things: the second is an attribute.
            if groups.setdefault(place[0], {}).setdefault(place[1], value) != value:
                rest[key] = value
        elif key == "k8s.pod.labels" and type(value) is dict:
            labels.update(value)
        elif key == "kubernetes" and type(value) is dict:
            _kubernetes(value, groups, labels, rest)
        elif key == "span_id" and type(value) is str and _SPAN_ID.fullmatch(value) is not None:
            groups["span"] = {"id": value}
        else:
            rest[key] = value
    document: dict[str, Any] = groups
    _message(document, text_of(record.body[shown]) if shown is not None else "")
    service = groups.setdefault("service", {})
    if "name" not in service and record.workload:
        service["name"] = record.workload
    remora = groups.setdefault("remora", {})
    remora.setdefault("workload", record.workload)
    if rest:
        remora["attributes"] = rest
    if labels:
        document["labels"] = labels
    _nest(document)
    return document


def message_of(record: LogRecord) -> str:
    """The text of a line, however long."""
    return next((text_of(record.body[key]) for key in _MESSAGE_KEYS if key in record.body), "")


def _message(document: dict[str, Any], text: str) -> None:
    if len(text) > MAX_MESSAGE_CHARS:
        document["event"] = {"original": text}
        document["tags"] = [CUT_TAG]
        text = text[:MAX_MESSAGE_CHARS]
    document["message"] = text


def _kubernetes(
    value: dict[str, Any], groups: dict[str, dict[str, Any]], labels: dict[str, Any], rest: dict[str, Any]
) -> None:
    others = {}
    for key, each in value.items():
        place = KUBERNETES.get(key)
        if place is not None and type(each) is str:
            if groups.setdefault(place[0], {}).setdefault(place[1], each) != each:
                others[key] = each
        elif key == "labels" and type(each) is dict:
            labels.update(each)
        elif each is not None:
            others[key] = each
    if others:
        rest["kubernetes"] = others


def _nest(document: dict[str, Any]) -> None:
    for path in [path for path in document if "." in path]:
        parent, _, name = path.partition(".")
        document.setdefault(parent, {})[name] = document.pop(path)
