"""`/clusters` and `/listeners`: the workers' answers, joined into one, as JSON or as Envoy's text. Pure."""

import json
from collections.abc import Iterable
from typing import Any


def join_clusters(texts: Iterable[str]) -> dict[str, Any]:
    """Each worker has its own connections and counters: the statistics of an endpoint are summed. One
    that some worker has ejected is shown as ejected."""
    clusters: dict[str, dict[str, Any]] = {}
    for text in texts:
        for status in json.loads(text).get("cluster_statuses", []):
            known = clusters.setdefault(status.get("name", ""), status)
            if known is not status:
                _join_hosts(known, status)
    return {"cluster_statuses": list(clusters.values())}


def _join_hosts(known: dict[str, Any], other: dict[str, Any]) -> None:
    hosts = {_address(host): host for host in known.setdefault("host_statuses", [])}
    for host in other.get("host_statuses", []):
        same = hosts.get(_address(host))
        if same is None:
            known["host_statuses"].append(host)
            continue
        if host.get("health_status", {}).get("failed_outlier_check"):
            same.setdefault("health_status", {})["failed_outlier_check"] = True
        values = {stat.get("name"): stat for stat in same.get("stats", [])}
        for stat in host.get("stats", []):
            mine = values.get(stat.get("name"))
            if mine is not None:
                mine["value"] = str(int(mine.get("value", 0)) + int(stat.get("value", 0)))


def join_listeners(texts: Iterable[str]) -> dict[str, Any]:
    """All workers have the same."""
    listeners: dict[str, Any] = {}
    for text in texts:
        for status in json.loads(text).get("listener_statuses", []):
            listeners.setdefault(status.get("name", ""), status)
    return {"listener_statuses": list(listeners.values())}


def clusters_as_text(joined: dict[str, Any]) -> str:
    """`cluster::address::stat::value`, one a line."""
    lines: list[str] = []
    for status in joined["cluster_statuses"]:
        name = status.get("name", "")
        for host in status.get("host_statuses", []):
            address = _address(host)
            lines += [f"{name}::{address}::{s.get('name')}::{s.get('value', '0')}" for s in host.get("stats", [])]
            lines.append(f"{name}::{address}::health_flags::{_health_flags(host.get('health_status', {}))}")
            lines.append(f"{name}::{address}::weight::{host.get('weight', 1)}")
            lines.append(f"{name}::{address}::priority::{host.get('priority', 0)}")
    return "".join(f"{line}\n" for line in lines)


def listeners_as_text(joined: dict[str, Any]) -> str:
    """`name::address`, one a line."""
    statuses = joined["listener_statuses"]
    return "".join(f"{each.get('name', '')}::{_socket(each.get('local_address', {}))}\n" for each in statuses)


def _health_flags(status: dict[str, Any]) -> str:
    reported = status.get("eds_health_status", "HEALTHY")
    flags = "" if reported == "HEALTHY" else reported.lower()
    if status.get("failed_outlier_check"):
        flags += "/failed_outlier_check"
    return flags or "healthy"


def _address(host: dict[str, Any]) -> str:
    return _socket(host.get("address", {}))


def _socket(address: dict[str, Any]) -> str:
    socket = address.get("socket_address", {})
    return f"{socket.get('address', '')}:{socket.get('port_value', 0)}"
