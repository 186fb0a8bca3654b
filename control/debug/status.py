"""Sync status: for every registered workload, whether its proxy runs what it is to run, and if not, why."""

from typing import Any

from control.api.workload import Workload
from control.xds.publisher import Publisher
from control.xds.stream import Stream


def sync_status(publisher: Publisher, *, connected: bool = False) -> list[dict[str, Any]]:
    """The `proxies` of `GET /v1/status`, by namespace and name; those alone that are `connected`, if that is asked."""
    workloads = sorted(publisher.world.workloads.values(), key=lambda w: (w.namespace, w.name))
    version = publisher.version
    streams = ((workload, publisher.newest_stream(workload.node_id)) for workload in workloads)
    return [_proxy(workload, stream, version) for workload, stream in streams if stream is not None or not connected]


def _proxy(workload: Workload, stream: Stream | None, version: str) -> dict[str, Any]:
    known = {
        "workload": workload.name,
        "namespace": workload.namespace,
        "node_id": workload.node_id,
        "kind": workload.kind,
    }
    if stream is None:
        return known | {
            "connected": False,
            "connected_since": None,
            "state": "disconnected",
            "version": None,
            "sent_version": None,
            "types": {},
            "rejections": [],
            "pushes": 0,
            "last_push_ms": None,
        }
    return known | {
        "connected": True,
        "connected_since": stream.connected_since,
        "state": _state(stream, version),
        "version": stream.acked_version,
        "sent_version": stream.sent_version,
        "types": stream.types,
        "rejections": [
            {"type": each.type, "path": each.path, "message": each.message, "at": each.at} for each in stream.rejections
        ],
        "pushes": stream.pushes,
        "last_push_ms": stream.last_push_ms,
    }


def _state(stream: Stream, version: str) -> str:
    if stream.subscription.refused:
        return "rejected"
    return "synced" if stream.acked_version == version else "stale"
