"""Telemetry of a busy Bookinfo, written with the collectors' own store. As a program, `python fake_mesh.py STATE`, it
goes on writing, to look at the console without a mesh."""

import math
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collectors.records import Batch, Histogram, LogRecord, Sample, SpanRecord
from collectors.store import Store
from mesh.records import ACCESS_KEYS, ACCESS_TAG, DURATION_BUCKETS_MS

EDGES = (
    # source, destination, requests a second, share of errors, mutual TLS, typical milliseconds
    ("unknown", "ingress", 24.0, 0.0, False, 22),
    ("ingress", "productpage-v1", 24.0, 0.0, True, 20),
    ("productpage-v1", "details-v1", 24.0, 0.0, True, 3),
    ("productpage-v1", "reviews-v1", 12.0, 0.0, True, 4),
    ("productpage-v1", "reviews-v2", 3.0, 0.02, True, 12),
    ("productpage-v1", "reviews-v3", 9.0, 0.0, True, 11),
    ("reviews-v2", "ratings-v1", 3.0, 0.0, True, 2),
    ("reviews-v3", "ratings-v1", 9.0, 0.12, True, 2),
)

Edge = tuple[str, str, float, float, bool, float]


def split(workload: str) -> tuple[str, str]:
    name, _, version = workload.rpartition("-v")
    return (name, f"v{version}") if name else (workload, "unknown")


def samples(edges: Iterable[Edge], at: float, seconds: float, rng: random.Random) -> list[Sample]:
    """Readings of all counters at `at`, after `seconds` of this traffic."""
    found = []
    for source, destination, rate, errors, mtls, typical in edges:
        app, version = split(destination)
        source_app, source_version = split(source)
        for code, share in (("200", 1 - errors), ("503", errors)):
            if not share:
                continue
            outside = source == "unknown"
            labels = {
                "reporter": "destination",
                "source_workload": source,
                "source_workload_namespace": "unknown" if outside else "default",
                "source_app": source_app,
                "source_version": source_version,
                "destination_workload": destination,
                "destination_workload_namespace": "default",
                "destination_app": app,
                "destination_version": version,
                "destination_service": f"{app}.default.svc.cluster.local",
                "destination_service_name": app,
                "destination_service_namespace": "default",
                "request_protocol": "http",
                "response_code": code,
                "response_flags": "-",
                "connection_security_policy": "mutual_tls" if mtls else "none",
            }
            series = tuple(sorted(labels.items()))
            count = float(math.floor(rate * share * seconds))
            found.append(Sample("istio_requests_total", series, at, count))
            bounds = (*(float(bound) for bound in DURATION_BUCKETS_MS), math.inf)
            counts = tuple(float(math.floor(count * _below(bound, typical))) for bound in bounds)
            histogram = Histogram(bounds, counts, count * typical)
            found.append(Sample("istio_request_duration_milliseconds", series, at, count, histogram))
    return found


def _below(bound: float, typical: float) -> float:
    return 1.0 if math.isinf(bound) else 1 - math.exp(-bound / typical)


def page_load(number: int, at: float, rng: random.Random) -> tuple[list[SpanRecord], list[LogRecord]]:
    """One request of the product page: its spans and its access records."""
    trace = f"{rng.getrandbits(128):032x}"
    spans: list[SpanRecord] = []
    logs: list[LogRecord] = []
    reviews = rng.choice(["reviews-v1", "reviews-v2", "reviews-v3"])
    failed = rng.random() < 0.1

    def call(source: str, target: str, parent: str | None, start: float, ms: float, path: str, bad: bool) -> str:
        service = split(target)[0]
        client, server = f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(64):016x}"
        attributes: dict[str, Any] = {
            "http.request.method": "GET",
            "url.path": path,
            "http.response.status_code": 503 if bad else 200,
            "server.address": service,
            "server.port": 9080,
            "peer.workload": source,
        }
        if source:
            spans.append(
                SpanRecord(
                    trace, client, parent, split(source)[0], source, f"GET {path}", "client", start, ms, bad, attributes
                )
            )
        parent_of_server = client if source else parent
        inner = start + (0.0004 if source else 0)
        spans.append(
            SpanRecord(
                trace,
                server,
                parent_of_server,
                service,
                target,
                f"GET {path}",
                "server",
                inner,
                ms - 0.8,
                bad,
                attributes,
            )
        )
        logs.append(record(f"{target}/e1/{number}", target, at + (start - at), path, trace, 503 if bad else 200, ms))
        return server

    total = rng.uniform(14, 40)
    ingress = call("", "ingress", None, at, total + 2, "/productpage", False)
    page = call("ingress", "productpage-v1", ingress, at + 0.0006, total, "/productpage", False)
    call("productpage-v1", "details-v1", page, at + 0.002, rng.uniform(2, 4), "/details/0", False)
    review = call("productpage-v1", reviews, page, at + 0.007, total - 8, "/reviews/0", False)
    if reviews != "reviews-v1":
        call(reviews, "ratings-v1", review, at + 0.009, rng.uniform(1.5, 4), "/ratings/0", failed)
    return spans, logs


def record(id_: str, workload: str, at: float, path: str, trace: str | None, code: int, ms: float) -> LogRecord:
    """An access record."""
    body: dict[str, Any] = dict.fromkeys(ACCESS_KEYS)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"
    body |= {
        "id": id_, "workload": workload, "namespace": "default", "direction": "inbound", "start_time": stamp,
        "method": "GET", "path": path, "protocol": "HTTP/1.1", "response_code": code, "bytes_received": 0,
        "response_flags": "-" if code < 500 else "UF", "response_code_details": "via_upstream", "bytes_sent": 371,
        "duration": round(ms, 2), "authority": f"{split(workload)[0]}:9080", "trace_id": trace, "user_agent": "load/1",
    }  # fmt: skip
    return LogRecord(id_, at, ACCESS_TAG, workload, "error" if code >= 500 else "info", trace, body)


def busy_minute(now: float, *, traces: int = 30, seed: int = 1) -> Batch:
    """Counters that grew over the last minute, and some page loads."""
    rng = random.Random(seed)
    batch = Batch()
    batch.samples += samples(EDGES, now - 58, 0, rng)
    batch.samples += samples(EDGES, now - 1, 57, rng)
    for number in range(traces):
        spans, logs = page_load(number, now - 55 + number * 50 / max(traces, 1), rng)
        batch.spans += spans
        batch.logs += logs
    return batch


def fill(state: Path, *batches: Batch) -> None:
    """Write to the state directory's store, as the collector does."""
    store = Store.open(state / "store" / "telemetry.sqlite")
    try:
        for batch in batches:
            store.submit(batch).result(20)
    finally:
        store.close()


def main(state: Path) -> None:
    rng = random.Random()
    store = Store.open(state / "store" / "telemetry.sqlite")
    start = time.time()
    store.submit(busy_minute(start)).result(20)
    number = 1000
    while True:
        now = time.time()
        batch = Batch()
        batch.samples += samples(EDGES, now, 58 + now - start, rng)
        spans, logs = page_load(number, now, rng)
        number += 1
        batch.spans += spans
        batch.logs += logs
        store.submit(batch).result(20)
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
