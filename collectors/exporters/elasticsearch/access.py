"""An access record's fields under ECS's names. Pure."""

from typing import Any

from collectors.records import PRINCIPAL_KEY, LogRecord
from mesh.records import FILTER_METADATA_KEY, GRPC_STATUS_KEY

_TEXT = frozenset({str})
_WHOLE = frozenset({int})
_NUMBER = frozenset({int, float})

_LONGEST_PORT = 5

PLACES: dict[str, tuple[str, str, frozenset[type]]] = {
    "method": ("http.request", "method", _TEXT),
    "request_id": ("http.request", "id", _TEXT),
    "bytes_received": ("http.request", "bytes", _WHOLE),
    "bytes_sent": ("http.response", "bytes", _WHOLE),
    "response_code": ("http.response", "status_code", _WHOLE),
    "path": ("url", "original", _TEXT),
    "authority": ("url", "domain", _TEXT),
    "user_agent": ("user_agent", "original", _TEXT),
    "requested_server_name": ("tls.client", "server_name", _TEXT),
    "span_id": ("span", "id", _TEXT),
    "downstream_remote_address": ("client", "address", _TEXT),
    "downstream_local_address": ("server", "address", _TEXT),
    "upstream_host": ("destination", "address", _TEXT),
    "namespace": ("orchestrator", "namespace", _TEXT),
    "workload": ("remora", "workload", _TEXT),
    "direction": ("remora", "direction", _TEXT),
    "protocol": ("remora", "protocol", _TEXT),
    "response_flags": ("remora", "response_flags", _TEXT),
    "response_code_details": ("remora", "response_code_details", _TEXT),
    "duration": ("remora", "duration_ms", _NUMBER),
    "upstream_service_time": ("remora", "upstream_service_time_ms", _NUMBER),
    "x_forwarded_for": ("remora", "x_forwarded_for", _TEXT),
    "upstream_cluster": ("remora", "upstream_cluster", _TEXT),
    "upstream_transport_failure_reason": ("remora", "upstream_transport_failure_reason", _TEXT),
    "route_name": ("remora", "route_name", _TEXT),
    "source_principal": ("remora", "source_principal", _TEXT),
    "source_workload": ("remora", "source_workload", _TEXT),
    "destination_service": ("remora", "destination_service", _TEXT),
    "attempts": ("remora", "attempts", _WHOLE),
    PRINCIPAL_KEY: ("remora", "peer_principal", _TEXT),
    GRPC_STATUS_KEY: ("remora", "grpc_status", _WHOLE),
    FILTER_METADATA_KEY: ("remora", "filter_metadata", frozenset({dict})),
}
"""Key of the record: group, name in it, types that fit. What does not fit is an attribute."""


def access_fields(record: LogRecord) -> dict[str, Any]:
    """Without what every document has."""
    groups: dict[str, dict[str, Any]] = {}
    rest: dict[str, Any] = {}
    for key, value in record.body.items():
        if value is None:
            continue
        place = PLACES.get(key)
        if place is None or type(value) not in place[2]:
            if not _is_elsewhere(key, value, record):
                rest[key] = value
            continue
        group = groups.get(place[0])
        if group is None:
            groups[place[0]] = {place[1]: value}
        else:
            group[place[1]] = value
    remora = groups.setdefault("remora", {})
    if rest:
        remora["attributes"] = rest
    _complete(record, groups, remora)
    http = {
        name: group
        for name, group in (
            ("request", groups.pop("http.request", None)),
            ("response", groups.pop("http.response", None)),
        )
        if group
    }
    document: dict[str, Any] = groups
    if http:
        document["http"] = http
    if tls := groups.pop("tls.client", None):
        document["tls"] = {"client": tls}
    return document


def _is_elsewhere(key: str, value: Any, record: LogRecord) -> bool:
    """Whether the document has it from the record itself."""
    if key == "start_time":
        return isinstance(value, str)
    return (key == "id" and value == record.id) or (key == "trace_id" and record.trace_id is not None)


def _complete(record: LogRecord, groups: dict[str, dict[str, Any]], remora: dict[str, Any]) -> None:
    """What ECS says in other words than Envoy."""
    document: dict[str, Any] = groups
    event: dict[str, Any] = {"outcome": "failure" if record.severity == "error" else "success"}
    duration = remora.get("duration_ms")
    if duration is not None and 0 <= duration < 1e12:
        event["duration"] = int(duration * 1e6)
    document["event"] = event
    url = groups.get("url")
    path = ""
    if url is not None and "original" in url:
        path, question, query = url["original"].partition("?")
        url["path"] = path
        if question:
            url["query"] = query
    for name in ("client", "server", "destination"):
        if (group := groups.get(name)) is not None:
            _split(group)
    document["service"] = {"name": _service(record, remora), "node": {"name": record.workload}}
    protocol = remora.get("protocol")
    if protocol == "TCP":
        document["message"] = f"TCP {remora.get('upstream_cluster', '-')} {remora.get('response_flags', '-')}"
        return
    request, response = groups.get("http.request"), groups.get("http.response")
    document["message"] = (
        f"{request.get('method', '-') if request else '-'} {path or '-'} "
        f"{response.get('status_code', '-') if response else '-'} {remora.get('response_flags', '-')}"
    )


def _service(record: LogRecord, remora: dict[str, Any]) -> str:
    """Of an inbound request the service that was called; else whose proxy it is."""
    destination = remora.get("destination_service")
    if destination and remora.get("direction") == "inbound":
        return str(destination).partition(".")[0]
    return record.workload


def _split(group: dict[str, Any]) -> None:
    """Take `10.0.0.1:80` or `[::1]:80` apart. What is no such address stays as it is."""
    host, colon, port = group["address"].rpartition(":")
    if colon and len(port) <= _LONGEST_PORT and port.isascii() and port.isdecimal():
        group["port"] = int(port)
        if host.startswith("["):
            group["ip"] = host[1:-1]
        elif host[:1].isdecimal():
            group["ip"] = host
