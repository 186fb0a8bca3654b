"""Clusters as Envoy's admin `/clusters?format=json` shows them."""

import json
from collections.abc import Sequence
from typing import Any

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.endpoint import LiveEndpoint


def render_clusters(clusters: Sequence[LiveCluster]) -> str:
    """JSON for the agent's admin interface."""
    return json.dumps({"cluster_statuses": [_cluster(each) for each in clusters]})


def _cluster(cluster: LiveCluster) -> dict[str, Any]:
    counts = cluster.counts
    thresholds = cluster.config.thresholds
    return {
        "name": cluster.name,
        "added_via_api": True,
        "observability_name": cluster.name,
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": thresholds.max_connections,
                    "max_pending_requests": thresholds.max_pending,
                    "max_requests": thresholds.max_requests,
                    "max_retries": thresholds.max_retries,
                }
            ]
        },
        "stats": {
            name: getattr(counts, name)
            for name in ("cx_total", "cx_active", "cx_connect_fail", "rq_total", "rq_active", "rq_pending", "rq_retry",
                         "rq_timeout", "rq_overflow")
        },
        "host_statuses": [_host(each) for each in cluster.endpoints],
    }  # fmt: skip


def _host(endpoint: LiveEndpoint) -> dict[str, Any]:
    config = endpoint.config
    return {
        "address": {"socket_address": {"address": config.address.host, "port_value": config.address.port}},
        "stats": [
            {"name": "cx_active", "value": str(endpoint.connections), "type": "GAUGE"},
            {"name": "cx_idle", "value": str(endpoint.pool.idle), "type": "GAUGE"},
            {"name": "rq_active", "value": str(endpoint.active), "type": "GAUGE"},
        ],
        "health_status": _health(endpoint),
        "weight": config.weight,
        "priority": config.priority,
        "tls": endpoint.secure,
        "workload": config.workload.name,
        "version": config.workload.version,
    }


def _health(endpoint: LiveEndpoint) -> dict[str, Any]:
    health: dict[str, Any] = {"eds_health_status": "HEALTHY" if endpoint.config.healthy else "UNHEALTHY"}
    if endpoint.outlier is not None and endpoint.outlier.ejected:
        health["failed_outlier_check"] = True
    return health
