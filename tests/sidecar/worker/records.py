"""Requests as the access log tells of them. What the log does not say, a test of the worker cannot see either.

Tests read the log rather than listen in on the worker's telemetry, so that they run on the compiled build, too: its
classes take no subclass from the outside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from mesh.records import FILTER_METADATA_KEY, GRPC_STATUS_KEY
from sidecar.config.messages import AccessLog, ToAgent


@dataclass(frozen=True, slots=True)
class Logged:
    """One access-log entry, in the words of sidecar.telemetry.record.RequestRecord."""

    method: bytes
    url: bytes
    authority: bytes
    protocol: str
    status: int
    flags: str
    """Empty when there are none."""
    details: str
    failure: str | None
    bytes_received: int
    bytes_sent: int
    attempts: int
    request_id: bytes
    route: str | None
    cluster: str | None
    upstream: str | None
    """`HOST:PORT`."""
    trace_id: str | None
    source_principal: str | None
    """Of the client, proven by mutual TLS."""
    source_workload: str
    filter_metadata: Mapping[str, Any] | None = None
    grpc_status: int | None = None


def logged(messages: Iterable[ToAgent]) -> list[Logged]:
    """All requests that the messages tell of, in order; relayed connections are none."""
    entries: list[Logged] = []
    for message in messages:
        if isinstance(message, AccessLog):
            unpacker = msgpack.Unpacker()
            unpacker.feed(message.entries)
            entries += [_logged(entry) for _, entry in unpacker if entry["method"] is not None]
    return entries


def _logged(entry: Mapping[str, Any]) -> Logged:
    return Logged(
        method=entry["method"].encode(),
        url=entry["path"].encode(),
        authority=entry["authority"].encode(),
        protocol=entry["protocol"],
        status=entry["response_code"],
        flags="" if entry["response_flags"] == "-" else entry["response_flags"],
        details=entry["response_code_details"],
        failure=entry["upstream_transport_failure_reason"],
        bytes_received=entry["bytes_received"],
        bytes_sent=entry["bytes_sent"],
        attempts=entry["attempts"],
        request_id=entry["request_id"].encode(),
        route=entry["route_name"],
        cluster=entry["upstream_cluster"],
        upstream=entry["upstream_host"],
        trace_id=entry["trace_id"],
        source_principal=entry["source_principal"],
        source_workload=entry["source_workload"],
        filter_metadata=entry.get(FILTER_METADATA_KEY),
        grpc_status=entry.get(GRPC_STATUS_KEY),
    )
