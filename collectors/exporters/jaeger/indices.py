"""Names of Jaeger's indices, and the templates that give them Jaeger's mappings. Pure.

The mappings are those of jaegertracing/jaeger, internal/storage/v1/elasticsearch/mappings, for Elasticsearch 8 and 9.
"""

from collections.abc import Iterator
from typing import Any

from collectors.exporters.elasticsearch.templates import Piece
from collectors.exporters.jaeger.documents import DEPENDENCY_INDEX, SERVICE_INDEX, SPAN_INDEX, day_of

VERSION = 1
PRIORITY = 500
_DAY_US = 86_400 * 1_000_000
_KEYWORD = {"type": "keyword", "ignore_above": 256}
_KEY_VALUES = {
    "type": "nested",
    "dynamic": False,
    "properties": {"key": _KEYWORD, "value": _KEYWORD, "type": _KEYWORD},
}


class Indices:
    """Names with the user's prefix: `PREFIX-jaeger-span-2026-01-31`."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = f"{prefix}-" if prefix else ""

    def span(self, time_us: int) -> str:
        """Of spans that began on that day."""
        return f"{self._prefix}{SPAN_INDEX}{day_of(time_us)}"

    def service(self, time_us: int) -> str:
        """Of the names of services and operations seen on that day."""
        return f"{self._prefix}{SERVICE_INDEX}{day_of(time_us)}"

    def dependencies(self, time_us: int) -> str:
        """Of calls counted up to that day."""
        return f"{self._prefix}{DEPENDENCY_INDEX}{day_of(time_us)}"

    @property
    def all_spans(self) -> str:
        """Of every day."""
        return f"{self._prefix}{SPAN_INDEX}*"

    @property
    def all_services(self) -> str:
        """Of every day."""
        return f"{self._prefix}{SERVICE_INDEX}*"

    def spans(self, start_us: int, end_us: int) -> str:
        """Of the days between, both included; not all need to be there."""
        return ",".join(f"{self._prefix}{SPAN_INDEX}{day}" for day in _days(start_us, end_us))

    def all_dependencies(self, start_us: int, end_us: int) -> str:
        """As `spans`."""
        return ",".join(f"{self._prefix}{DEPENDENCY_INDEX}{day}" for day in _days(start_us, end_us))

    def templates(self, *, shards: int | None, replicas: int | None) -> tuple[Piece, ...]:
        """Index templates, by the names that Jaeger gives them."""
        found = []
        for name, mappings in (
            (SPAN_INDEX, _SPAN),
            (SERVICE_INDEX, _SERVICE),
            (DEPENDENCY_INDEX, _DEPENDENCIES),
        ):
            settings: dict[str, Any] = {
                "index.mapping.nested_fields.limit": 50,
                "index.requests.cache.enable": True,
            }
            if shards is not None:
                settings["index.number_of_shards"] = shards
            if replicas is not None:
                settings["index.number_of_replicas"] = replicas
            body = {
                "index_patterns": [f"{self._prefix}{name}*"],
                "priority": PRIORITY,
                "template": {"settings": settings, "mappings": mappings},
                "_meta": {"managed_by": "remora", "version": VERSION, "shards": shards, "replicas": replicas},
            }
            title = f"{self._prefix}{name.removesuffix('-')}"
            found.append(Piece(f"index template {title}", f"/_index_template/{title}", body, ("_meta",)))
        return tuple(found)


def _days(start_us: int, end_us: int) -> Iterator[str]:
    for day in range(start_us // _DAY_US, end_us // _DAY_US + 1):
        yield day_of(day * _DAY_US)


def _map(name: str, path: str) -> dict[str, Any]:
    return {name: {"mapping": _KEYWORD, "path_match": path}}


_DYNAMIC = [_map("span_tags_map", "tag.*"), _map("process_tags_map", "process.tag.*")]
_SPAN: dict[str, Any] = {
    "dynamic_templates": _DYNAMIC,
    "properties": {
        "traceID": _KEYWORD,
        "parentSpanID": _KEYWORD,
        "spanID": _KEYWORD,
        "operationName": _KEYWORD,
        "startTime": {"type": "long"},
        "startTimeMillis": {"type": "date", "format": "epoch_millis"},
        "duration": {"type": "long"},
        "flags": {"type": "integer"},
        "logs": {
            "type": "nested",
            "dynamic": False,
            "properties": {"timestamp": {"type": "long"}, "fields": _KEY_VALUES},
        },
        "process": {"properties": {"serviceName": _KEYWORD, "tag": {"type": "object"}, "tags": _KEY_VALUES}},
        "references": {
            "type": "nested",
            "dynamic": False,
            "properties": {"refType": _KEYWORD, "traceID": _KEYWORD, "spanID": _KEYWORD},
        },
        "tag": {"type": "object"},
        "tags": _KEY_VALUES,
    },
}
_SERVICE: dict[str, Any] = {
    "dynamic_templates": _DYNAMIC,
    "properties": {"serviceName": _KEYWORD, "operationName": _KEYWORD},
}
_DEPENDENCIES: dict[str, Any] = {
    "properties": {
        "timestamp": {"type": "date"},
        "dependencies": {
            "properties": {"parent": _KEYWORD, "child": _KEYWORD, "callCount": {"type": "long"}},
        },
    },
}
