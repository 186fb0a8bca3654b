"""What Elasticsearch must know before it is written to: mappings, settings and how long data is kept. Pure.

Names of the Elastic Common Schema get the types that the schema gives them. `dynamic: false`: nothing that a record
says adds a field; what has no place is in fields of type `flattened`, which take anything and stay one field each.
OpenSearch has `flat_object` in its place, which knows no `ignore_above`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from collectors.exporters.elasticsearch.engine import Engine

VERSION = 1
"""Of everything below. Raise it with every change: what has a lower one is replaced, what has a higher one is not."""

PRIORITY = 250
"""Above Elasticsearch's own template for `logs-*-*` and `metrics-*-*`, which has 100."""

MAPPINGS = "remora-mappings"
SETTINGS = "remora-settings"
CUSTOM = "remora@custom"
"""A component template that users may write: it is laid over ours and never touched by us."""
POLICY = "remora"
LOGS = "logs-remora"
METRICS = "metrics-remora"


@dataclass(frozen=True, slots=True)
class Retention:
    """How data streams roll over and end."""

    kind: Literal["ilm", "data_stream", "none"]
    """An ILM policy; Elasticsearch's own data stream lifecycle (8.11; serverless has nothing else); or neither."""
    rollover_bytes: int
    """Of a primary shard. Only of `ilm`: the data stream lifecycle has one figure for the whole cluster."""
    rollover_s: float
    """Age at which an index is followed by the next. Only of `ilm`."""
    delete_after_s: float
    """After the rollover (ILM's way of counting)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing to install: `PUT path` with `body`."""

    title: str
    path: str
    body: dict[str, Any]
    meta_at: tuple[str, ...]
    """Where `_meta` is in `body`, and below an entry of the answer of `GET path`."""
    only_if_absent: bool = False
    """It is the users': whatever is there stays."""


def pieces(
    retention: Retention, *, shards: int | None, replicas: int | None, engine: Engine = "elasticsearch"
) -> tuple[Piece, ...]:
    """In the order in which they must be installed: each names only what comes before it."""
    found = []
    settings = _settings(retention, shards, replicas)
    if retention.kind == "ilm":
        found.append(_policy(retention))
    mappings = _MAPPINGS if engine == "elasticsearch" else _of_flat_objects(_MAPPINGS)
    found.append(_component(MAPPINGS, {"mappings": mappings}))
    found.append(_component(SETTINGS, settings))
    # OpenSearch takes no index template that names a component which is not there.
    if engine == "opensearch":
        found.append(Piece(f"component template {CUSTOM}", _path(CUSTOM), {"template": {}}, (), only_if_absent=True))
    for name, streams in ((LOGS, ["logs-remora.access-*", "logs-remora.app-*"]), (METRICS, ["metrics-remora.mesh-*"])):
        body: dict[str, Any] = {
            "index_patterns": streams,
            "data_stream": {},
            "priority": PRIORITY,
            "composed_of": [MAPPINGS, SETTINGS, CUSTOM],
        }
        if engine == "elasticsearch":
            body["ignore_missing_component_templates"] = [CUSTOM]
        found.append(Piece(f"index template {name}", f"/_index_template/{name}", _stamped(body), ("_meta",)))
    return tuple(found)


def _policy(retention: Retention) -> Piece:
    hot = {
        "rollover": {
            "max_primary_shard_size": f"{retention.rollover_bytes}b",
            "max_age": f"{int(retention.rollover_s)}s",
        }
    }
    policy = {
        "phases": {
            "hot": {"min_age": "0ms", "actions": hot},
            "delete": {"min_age": f"{int(retention.delete_after_s)}s", "actions": {"delete": {}}},
        }
    }
    return Piece(
        f"ILM policy {POLICY}",
        f"/_ilm/policy/{POLICY}",
        {"policy": _stamped(policy, number=False)},
        ("policy", "_meta"),
    )


def _component(name: str, template: dict[str, Any]) -> Piece:
    return Piece(f"component template {name}", _path(name), _stamped({"template": template}), ("_meta",))


def _path(component: str) -> str:
    return f"/_component_template/{component}"


def _of_flat_objects(mapping: dict[str, Any]) -> dict[str, Any]:
    if mapping == _FLATTENED:
        return {"type": "flat_object"}
    return {name: _of_flat_objects(each) if isinstance(each, dict) else each for name, each in mapping.items()}


def _settings(retention: Retention, shards: int | None, replicas: int | None) -> dict[str, Any]:
    index: dict[str, Any] = {
        # One wrong number costs that field its index, not the record its place.
        "mapping": {"ignore_malformed": True},
        "codec": "best_compression",
        "query": {"default_field": ["message", "error.message", "remora.attributes"]},
    }
    if shards is not None:
        index["number_of_shards"] = shards
    if replicas is not None:
        index["number_of_replicas"] = replicas
    template: dict[str, Any] = {"settings": {"index": index}}
    if retention.kind == "ilm":
        index["lifecycle"] = {"name": POLICY}
    elif retention.kind == "data_stream":
        template["lifecycle"] = {"data_retention": f"{int(retention.delete_after_s)}s"}
    return template


def _stamped(body: dict[str, Any], *, number: bool = True) -> dict[str, Any]:
    """With whose it is, its version, and a digest of what we wrote: what a user changed in it stays until the next."""
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    meta = {"managed_by": "remora", "version": VERSION, "digest": digest}
    return {**body, **({"version": VERSION} if number else {}), "_meta": meta}


def _object(**properties: Any) -> dict[str, Any]:
    return {"properties": properties}


_KEYWORD = {"type": "keyword", "ignore_above": 1024}
_LONG = {"type": "long"}
_DOUBLE = {"type": "double"}
_TEXT = {"type": "text", "norms": False}
_IP = {"type": "ip"}
_FLATTENED = {"type": "flattened", "ignore_above": 1024}
_KEPT = {"type": "keyword", "index": False, "doc_values": False}
"""In `_source` alone."""
_ADDRESS = _object(address=_KEYWORD, ip=_IP, port=_LONG, domain=_KEYWORD)

_MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "date_detection": False,
    "properties": {
        # Records of a busy sidecar are microseconds apart; a `date` would lose their order.
        "@timestamp": {"type": "date_nanos"},
        "message": _TEXT,
        "tags": _KEYWORD,
        "labels": _FLATTENED,
        "ecs": _object(version=_KEYWORD),
        "data_stream": _object(type=_KEYWORD, dataset=_KEYWORD, namespace=_KEYWORD),
        "event": _object(
            id=_KEYWORD, dataset=_KEYWORD, sequence=_LONG, duration=_LONG, outcome=_KEYWORD, original=_KEPT
        ),
        "log": _object(level=_KEYWORD, logger=_KEYWORD, file=_object(path=_KEYWORD)),
        "trace": _object(id=_KEYWORD),
        "span": _object(id=_KEYWORD),
        "service": _object(
            name=_KEYWORD, version=_KEYWORD, id=_KEYWORD, namespace=_KEYWORD, node=_object(name=_KEYWORD)
        ),
        "http": _object(
            request=_object(method=_KEYWORD, id=_KEYWORD, bytes=_LONG),
            response=_object(status_code=_LONG, bytes=_LONG),
        ),
        "url": _object(original=_KEYWORD, path=_KEYWORD, query=_KEYWORD, domain=_KEYWORD),
        "user_agent": _object(original=_KEYWORD),
        "client": _ADDRESS,
        "server": _ADDRESS,
        "destination": _ADDRESS,
        "tls": _object(client=_object(server_name=_KEYWORD)),
        "orchestrator": _object(namespace=_KEYWORD),
        "kubernetes": _object(
            namespace=_KEYWORD,
            pod=_object(name=_KEYWORD, uid=_KEYWORD),
            container=_object(name=_KEYWORD),
            node=_object(name=_KEYWORD),
            deployment=_object(name=_KEYWORD),
        ),
        "container": _object(id=_KEYWORD, name=_KEYWORD, image=_object(name=_KEYWORD)),
        "host": _object(name=_KEYWORD),
        "error": _object(type=_KEYWORD, message=_TEXT, stack_trace=_KEPT),
        "remora": _object(
            workload=_KEYWORD,
            stream=_KEYWORD,
            tag=_KEYWORD,
            output=_KEYWORD,
            direction=_KEYWORD,
            protocol=_KEYWORD,
            response_flags=_KEYWORD,
            response_code_details=_KEYWORD,
            duration_ms=_DOUBLE,
            upstream_service_time_ms=_DOUBLE,
            x_forwarded_for=_KEYWORD,
            upstream_cluster=_KEYWORD,
            upstream_transport_failure_reason=_KEYWORD,
            route_name=_KEYWORD,
            source_principal=_KEYWORD,
            source_workload=_KEYWORD,
            destination_service=_KEYWORD,
            peer_principal=_KEYWORD,
            attempts=_LONG,
            grpc_status=_LONG,
            filter_metadata=_FLATTENED,
            attributes=_FLATTENED,
            original_time=_KEYWORD,
            reduced=_KEPT,
            metric=_object(
                name=_KEYWORD,
                kind=_KEYWORD,
                exemplars={"type": "object", "enabled": False},
                value=_DOUBLE,
                count=_DOUBLE,
                sum=_DOUBLE,
                ended={"type": "boolean"},
                bounds={"type": "double", "index": False, "doc_values": False},
                counts={"type": "long", "index": False, "doc_values": False},
            ),
        ),
    },
}
