"""Builders of telemetry for tests: a store filled in a line or two. Copy what you need."""

import random
from pathlib import Path
from typing import Any

from collectors.records import Batch, Histogram, Labels, LogRecord, Sample, SpanRecord
from collectors.store import Store
from mesh.records import ACCESS_KEYS, ACCESS_TAG, DURATION_BUCKETS_MS

NOW = 1_769_860_800.0
"""2026-01-31T12:00:00Z"""


def access_body(number: int = 0, **changes: Any) -> dict[str, Any]:
    """The fields of an access record with every key of mesh.records.ACCESS_KEYS."""
    body: dict[str, Any] = dict.fromkeys(ACCESS_KEYS)
    body.update(
        id=f"sidecar~productpage-v1.default/e1/{number}",
        workload="productpage-v1",
        namespace="default",
        direction="outbound",
        start_time="2026-01-31T12:00:00.123456Z",
        method="GET",
        path="/reviews/0",
        protocol="HTTP/1.1",
        response_code=200,
        response_flags="-",
        response_code_details="via_upstream",
        bytes_received=0,
        bytes_sent=371,
        duration=3.2,
        upstream_service_time=3.0,
        user_agent="curl/8",
        request_id=f"00000000-0000-4000-8000-{number:012d}",
        authority="reviews:9080",
        upstream_host="127.0.0.1:40123",
        upstream_cluster="outbound|9080|v1|reviews.default.svc.cluster.local",
        trace_id=f"{number + 1:032x}",
        span_id=f"{number + 1:016x}",
        source_workload="productpage-v1",
        destination_service="reviews.default.svc.cluster.local",
        attempts=1,
    )
    body.update(changes)
    return body


def access(number: int = 0, *, time: float = NOW, **changes: Any) -> LogRecord:
    """An access record as the pipeline hands it to the store."""
    body = access_body(number, **changes)
    severity = "error" if body["response_code"] >= 500 else "info"
    return LogRecord(body["id"], time, ACCESS_TAG, body["workload"], severity, body["trace_id"], body)


def log(id_: str, message: str, *, time: float = NOW, **fields: Any) -> LogRecord:
    """An application's log line."""
    return LogRecord(id_, time, "app.log", "reviews-v1", "info", None, {"message": message, **fields})


def span(
    trace: int, number: int, parent: int | None, service: str, *, start: float = NOW, ms: float = 5.0, **changes: Any
) -> SpanRecord:
    """A span whose ids are small numbers."""
    record = SpanRecord(
        trace_id=f"{trace:032x}",
        span_id=f"{number:016x}",
        parent_id=None if parent is None else f"{parent:016x}",
        service=service,
        workload=f"{service}-v1",
        name=f"{service}.default.svc.cluster.local:9080/*",
        kind="server",
        start=start,
        duration_ms=ms,
        error=False,
        attributes={"http.request.method": "GET", "url.path": "/reviews/0"},
    )
    return record._replace(**changes)


def labels(source: str, destination: str, *, reporter: str = "destination", **changes: str) -> Labels:
    """Istio labels of requests from workload `source` to workload `destination`, named SERVICE-VERSION or `unknown`."""
    service, _, version = destination.rpartition("-")
    source_app, _, source_version = source.rpartition("-")
    values = {
        "reporter": reporter,
        "source_workload": source,
        "source_workload_namespace": "unknown" if source == "unknown" else "default",
        "source_app": source_app or "unknown",
        "source_version": source_version if source_app else "unknown",
        "destination_workload": destination,
        "destination_workload_namespace": "default",
        "destination_app": service,
        "destination_version": version,
        "destination_service": f"{service}.default.svc.cluster.local",
        "destination_service_name": service,
        "destination_service_namespace": "default",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls" if reporter == "destination" else "unknown",
        "instance": "127.0.0.1:15020",
    }
    values.update(changes)
    return tuple(sorted(values.items()))


def requests(time: float, value: float | None, series: Labels) -> Sample:
    """A reading of istio_requests_total."""
    return Sample("istio_requests_total", series, time, value)


def durations(time: float, values_ms: list[float], series: Labels) -> Sample:
    """A reading of istio_request_duration_milliseconds after these requests."""
    bounds = (*(float(bound) for bound in DURATION_BUCKETS_MS), float("inf"))
    counts = tuple(sum(value <= bound for value in values_ms) for bound in bounds)
    histogram = Histogram(bounds, counts, sum(values_ms))
    return Sample("istio_request_duration_milliseconds", series, time, float(len(values_ms)), histogram)


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def fill(path: Path, batch: Batch, *, now: float = NOW) -> None:
    """Write a batch to the store at `path`, and close it. It is `now` for the store, so that retention keeps it."""
    store = Store.open(path, clock=FakeClock(now))
    try:
        store.submit(batch).result(10)
    finally:
        store.close()


def bookinfo(path: Path, *, now: float = NOW, seed: int = 1) -> None:
    """A minute of Bookinfo: productpage asks details and reviews (80 % v1, 20 % v3), reviews-v3 asks ratings."""
    rng = random.Random(seed)
    batch = Batch()
    edges = [
        ("unknown", "productpage-v1", 600),
        ("productpage-v1", "details-v1", 600),
        ("productpage-v1", "reviews-v1", 480),
        ("productpage-v1", "reviews-v3", 120),
        ("reviews-v3", "ratings-v1", 120),
    ]
    for source, destination, count in edges:
        policy = {"connection_security_policy": "none"} if source == "unknown" else {}
        series = labels(source, destination, **policy)
        times = [rng.uniform(1, 20) for _ in range(count)]
        batch.samples += [requests(now - 60, 0, series), requests(now - 1, count, series)]
        batch.samples += [durations(now - 60, [], series), durations(now - 1, times, series)]
    for number in range(50):
        at = now - 50 + number
        batch.logs.append(access(number, time=at))
        batch.spans += [
            span(number + 1, 1, None, "productpage", start=at, ms=20),
            span(number + 1, 2, 1, "reviews", start=at + 0.005, ms=10),
            span(number + 1, 3, 2, "ratings", start=at + 0.007, ms=3, error=number % 10 == 0),
        ]
    fill(path, batch)
