"""Access records as sidecars send them."""

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import msgpack
from fluent.sender import EventTime

from mesh.records import ACCESS_KEYS, ACCESS_TAG

CHUNK = 200
"""Records in a message: what a busy sidecar sends at once."""


def message(
    rng: random.Random, now: float, numbers: Sequence[str], chunk: str, *, workload: str = "productpage-v1"
) -> bytes:
    """One PackedForward message of a record for each of `numbers`, with which their ids end."""
    entries = []
    for each, number in enumerate(numbers):
        trace_id = f"{rng.getrandbits(128):032x}"
        service = rng.choice(("reviews", "details", "ratings"))
        when = now + each * 1e-3
        body = dict.fromkeys(ACCESS_KEYS) | {
            "id": f"sidecar~{workload}.default/ab12cd34/{number}", "workload": workload,
            "namespace": "default", "direction": "outbound", "start_time": _start(when), "method": "GET",
            "path": f"/{service}/{rng.randrange(50)}", "protocol": "HTTP/1.1",
            "response_code": 503 if rng.random() < 0.01 else 200, "response_flags": "-",
            "response_code_details": "via_upstream", "bytes_received": 0, "bytes_sent": rng.randrange(9000),
            "duration": rng.random() * 9, "upstream_service_time": 3.0, "x_forwarded_for": "127.0.0.1",
            "user_agent": "python-httpx/0.28", "request_id": str(uuid.UUID(int=rng.getrandbits(128))),
            "authority": f"{service}:9080", "upstream_host": "127.0.0.1:40123",
            "upstream_cluster": f"outbound|9080|v1|{service}.default.svc.cluster.local",
            "downstream_local_address": "127.0.0.1:15001",
            "downstream_remote_address": f"127.0.0.1:{rng.randrange(30000, 60000)}", "route_name": "default",
            "trace_id": trace_id, "span_id": trace_id[:16], "source_workload": workload,
            "destination_service": f"{service}.default.svc.cluster.local", "attempts": 1,
        }  # fmt: skip
        entries.append(msgpack.packb([EventTime(when), body]))
    return bytes(msgpack.packb([ACCESS_TAG, b"".join(entries), {"chunk": chunk, "size": len(numbers)}]))


def _start(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
