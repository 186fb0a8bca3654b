"""One call per request: metrics with Istio's labels, access-log entries, bounds."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from mesh.records import ACCESS_KEYS, DURATION_BUCKETS_MS, HTTP_LABELS
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Endpoint
from sidecar.config.listener import Direction
from sidecar.config.messages import AccessLog, Growth, HttpSeries, Metrics, Reading
from sidecar.config.snapshot import Node
from tests.sidecar.telemetry.conftest import APP, INBOUND, OUTBOUND, PEER, RATINGS, SELF, Bench, sampled


def _labels(series: HttpSeries) -> dict[str, str]:
    return dict(zip(HTTP_LABELS, series.labels, strict=True))


def _only(metrics: Metrics | None) -> HttpSeries:
    assert metrics is not None
    assert len(metrics.http) == 1
    return metrics.http[0]


_SOURCE = {
    "source_workload": "reviews-v1", "source_canonical_service": "reviews", "source_canonical_revision": "v1",
    "source_workload_namespace": "default", "source_app": "reviews", "source_version": "v1",
    "source_cluster": "laptop",
}  # fmt: skip
_DESTINATION = {
    "destination_workload": "ratings-v1", "destination_workload_namespace": "shop", "destination_app": "ratings",
    "destination_version": "v1", "destination_canonical_service": "ratings", "destination_canonical_revision": "v1",
    "destination_cluster": "laptop",
}  # fmt: skip
_SERVICE = {
    "destination_service": "ratings.shop.svc.cluster.local", "destination_service_name": "ratings",
    "destination_service_namespace": "shop",
}  # fmt: skip
_OUTCOME = {"request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-"}
_UNKNOWN_DESTINATION = {
    **dict.fromkeys(_DESTINATION, "unknown"), "destination_canonical_revision": "latest",
    "destination_principal": "unknown",
}  # fmt: skip


def test_source_side_over_mutual_tls(bench: Bench) -> None:
    bench.outbound()
    assert _labels(_only(bench.metrics())) == {
        "reporter": "source", **_SOURCE, **_DESTINATION, **_SERVICE, **_OUTCOME,
        "source_principal": SELF.principal, "destination_principal": PEER.principal,
        "connection_security_policy": "unknown",
    }  # fmt: skip


def test_source_side_in_plaintext_proves_nobody(bench: Bench) -> None:
    bench.outbound(upstream=bench.telemetry.upstream(OUTBOUND, RATINGS, secure=False))
    labels = _labels(_only(bench.metrics()))
    assert (labels["source_principal"], labels["destination_principal"]) == ("unknown", "unknown")
    assert labels["destination_workload"] == "ratings-v1"


def test_source_side_without_an_endpoint_knows_the_service(bench: Bench) -> None:
    bench.outbound(upstream=None, status=503, flags="UH")
    labels = _labels(_only(bench.metrics()))
    assert labels == {
        "reporter": "source", **_SOURCE, **_UNKNOWN_DESTINATION, **_SERVICE, **_OUTCOME,
        "source_principal": "unknown", "connection_security_policy": "unknown",
        "response_code": "503", "response_flags": "UH",
    }  # fmt: skip


def test_without_a_route_the_destination_is_unknown(bench: Bench) -> None:
    bench.outbound(target=None, upstream=None, status=404, flags="NR")
    labels = _labels(_only(bench.metrics()))
    assert labels.items() >= dict.fromkeys(_SERVICE, "unknown").items()
    assert (labels["response_code"], labels["response_flags"]) == ("404", "NR")


@pytest.mark.parametrize("name", ["PassthroughCluster", "BlackHoleCluster"])
def test_clusters_without_a_service_are_called_by_name(bench: Bench, name: str) -> None:
    cluster = Cluster(name)
    target = bench.telemetry.target("default", cluster)
    upstream = bench.telemetry.upstream(cluster, Endpoint(APP.address), secure=False)
    bench.outbound(target=target, upstream=upstream)
    assert _labels(_only(bench.metrics()))["destination_service_name"] == name


def _metadata(**document: Any) -> bytes:
    struct = json_format.ParseDict(document, struct_pb2.Struct())
    return base64.b64encode(struct.SerializeToString())


_CALLER = _metadata(
    WORKLOAD_NAME="productpage-v1",
    NAMESPACE="default",
    CLUSTER_ID="laptop",
    LABELS={"app": "productpage", "version": "v1"},
)
_CALLER_ID = "spiffe://cluster.local/ns/default/sa/productpage"


def _inbound(bench: Bench, metadata: bytes | None, principal: str | None, **fields: Any) -> None:
    downstream = bench.downstream(Direction.INBOUND, principal=principal)
    record = bench.request(
        downstream,
        target=bench.telemetry.target("default", INBOUND),
        upstream=bench.telemetry.upstream(INBOUND, APP, secure=False),
        peer_metadata=metadata,
        **fields,
    )
    bench.finish(record)


def test_destination_side_over_mutual_tls(bench: Bench) -> None:
    _inbound(bench, _CALLER, _CALLER_ID)
    assert _labels(_only(bench.metrics())) == {
        "reporter": "destination",
        "source_workload": "productpage-v1", "source_canonical_service": "productpage",
        "source_canonical_revision": "v1", "source_workload_namespace": "default", "source_principal": _CALLER_ID,
        "source_app": "productpage", "source_version": "v1", "source_cluster": "laptop",
        "destination_workload": "reviews-v1", "destination_workload_namespace": "default",
        "destination_principal": SELF.principal, "destination_app": "reviews", "destination_version": "v1",
        "destination_service": "reviews.default.svc.cluster.local", "destination_canonical_service": "reviews",
        "destination_canonical_revision": "v1", "destination_service_name": "reviews",
        "destination_service_namespace": "default", "destination_cluster": "laptop",
        **_OUTCOME, "connection_security_policy": "mutual_tls",
    }  # fmt: skip


def test_destination_side_in_plaintext_believes_no_metadata(bench: Bench) -> None:
    _inbound(bench, _CALLER, None)
    labels = _labels(_only(bench.metrics()))
    assert labels["connection_security_policy"] == "none"
    assert (labels["source_workload"], labels["source_principal"]) == ("unknown", "unknown")
    assert (labels["destination_workload"], labels["destination_principal"]) == ("reviews-v1", "unknown")


def test_the_caller_may_change_on_one_connection(bench: Bench) -> None:
    downstream = bench.downstream(Direction.INBOUND, principal=_CALLER_ID)
    target = bench.telemetry.target("default", INBOUND)
    other = _metadata(WORKLOAD_NAME="other", NAMESPACE="default")
    for metadata in (_CALLER, _CALLER, other, None, _CALLER):
        bench.finish(bench.request(downstream, target=target, peer_metadata=metadata))
    metrics = bench.metrics()
    assert metrics is not None
    assert {_labels(each)["source_workload"]: each.requests for each in metrics.http} == {
        "productpage-v1": 3, "other": 1, "unknown": 1,
    }  # fmt: skip


def test_an_inbound_cluster_without_a_service_is_called_as_the_workload(bench: Bench) -> None:
    record = bench.request(
        bench.downstream(Direction.INBOUND), target=bench.telemetry.target("default", Cluster("inbound|9080||"))
    )
    bench.finish(record)
    labels = _labels(_only(bench.metrics()))
    assert (labels["destination_service_name"], labels["destination_service_namespace"]) == ("reviews", "default")


def test_grpc_has_its_own_protocol_and_status(bench: Bench) -> None:
    bench.outbound(grpc_status=14)
    labels = _labels(_only(bench.metrics()))
    assert (labels["request_protocol"], labels["grpc_response_status"]) == ("grpc", "14")


def test_equal_labels_are_one_series_across_connections_and_bindings(bench: Bench) -> None:
    for _ in range(3):
        bench.outbound()
    assert _only(bench.metrics()).requests == 3


def test_histograms_count_each_request_once(bench: Bench) -> None:
    bench.clock.mono = 0.0  # so that differences are exact
    bench.outbound(bytes_sent=100)
    bench.outbound(bytes_received=10_241, bytes_sent=0)
    upstream = bench.telemetry.upstream(OUTBOUND, RATINGS, secure=True)
    target = bench.telemetry.target("default", OUTBOUND)
    for duration_s in (0.0005, 0.001, 0.0011, 7200.0):
        bench.finish(bench.request(bench.downstream(), target=target, upstream=upstream), duration_s)
    series = _only(bench.metrics())
    assert series.requests == sum(series.duration_buckets) == sum(series.request_buckets) == 6
    assert sum(series.response_buckets) == 6
    # Two requests of 2 ms, and 0.5, 1, 1.1 and 7,200,000 ms: bounds belong to the bucket below them.
    bounds = DURATION_BUCKETS_MS
    assert [series.duration_buckets[bounds.index(bound)] for bound in (0.5, 1, 5)] == [1, 1, 3]
    assert series.duration_buckets[-1] == 1
    assert series.duration_ms_sum == pytest.approx(7_200_000 + 2 * 2 + 0.5 + 1 + 1.1)
    assert (series.request_bytes_sum, series.response_bytes_sum) == (10_241, 100)
    assert (series.request_buckets[0], series.request_buckets[bounds.index(30_000)]) == (5, 1)
    assert (series.response_buckets[0], series.response_buckets[bounds.index(100)]) == (5, 1)


def test_a_flush_tells_only_growth(bench: Bench) -> None:
    bench.outbound()
    assert _only(bench.metrics()).requests == 1
    assert bench.telemetry.flush() == []
    bench.outbound()
    assert _only(bench.metrics()).requests == 1


def test_others_counters_travel_along(bench: Bench) -> None:
    growth = Growth("envoy_cluster_upstream_cx_total", (("envoy_cluster_name", "x"),), 2)
    reading = Reading("envoy_cluster_upstream_cx_active", (), 1.0)
    assert bench.telemetry.flush([growth], [reading]) == [Metrics((), (growth,), (reading,))]


# Access log


def test_an_entry_has_every_key_and_the_values(bench: Bench) -> None:
    bench.clock.advance(0.25)
    bench.outbound(
        user_agent=b"curl/8", forwarded_for=b"10.1.1.1", request_id=b"id-1", bytes_received=7, bytes_sent=5_000_000_000,
        upstream_s=0.0015, attempts=2, flags="URX,UF", status=503, failure="connect_timeout",
        details="upstream_reset_before_response_started{connection_failure}", trace=sampled(),
    )  # fmt: skip
    ((seconds, nanoseconds, entry),) = bench.entries()
    assert (seconds, nanoseconds) == (1769860800, 250_000_000)
    assert entry.keys() == set(ACCESS_KEYS)
    assert entry.pop("duration") == pytest.approx(2.0)
    assert entry == {
        "id": "node-1/e1/000000000001", "workload": "reviews-v1", "namespace": "default", "direction": "outbound",
        "start_time": "2026-01-31T12:00:00.250000Z", "method": "GET", "path": "/ratings/0?x=1",
        "protocol": "HTTP/1.1", "response_code": 503, "response_flags": "URX,UF",
        "response_code_details": "upstream_reset_before_response_started{connection_failure}", "bytes_received": 7,
        "bytes_sent": 5_000_000_000, "upstream_service_time": 1.5, "x_forwarded_for": "10.1.1.1",
        "user_agent": "curl/8", "request_id": "id-1", "authority": "ratings:9080", "upstream_host": "10.0.0.9:9080",
        "upstream_cluster": OUTBOUND.name, "upstream_transport_failure_reason": "connect_timeout",
        "downstream_local_address": "127.0.0.1:15001", "downstream_remote_address": "127.0.0.1:40000",
        "requested_server_name": None, "route_name": "default", "trace_id": "a" * 32, "span_id": "b" * 16,
        "source_principal": None, "source_workload": "reviews-v1",
        "destination_service": "ratings.shop.svc.cluster.local", "attempts": 2,
    }  # fmt: skip


def test_an_entry_says_null_where_there_is_nothing_to_say(bench: Bench) -> None:
    bench.outbound(target=None, upstream=None, status=0, flags="DC")
    ((_, _, entry),) = bench.entries()
    assert entry.keys() == set(ACCESS_KEYS)
    assert {key for key, value in entry.items() if value is None} == {
        "upstream_service_time", "x_forwarded_for", "user_agent", "upstream_host", "upstream_cluster",
        "upstream_transport_failure_reason", "requested_server_name", "route_name", "trace_id", "span_id",
        "source_principal",
    }  # fmt: skip


def test_an_inbound_entry_names_the_caller(bench: Bench) -> None:
    downstream = bench.downstream(Direction.INBOUND, principal=_CALLER_ID, server_name="outbound_.9080_._.reviews")
    bench.finish(bench.request(downstream, target=bench.telemetry.target("r", INBOUND), peer_metadata=_CALLER))
    ((_, _, entry),) = bench.entries()
    assert (entry["source_principal"], entry["source_workload"]) == (_CALLER_ID, "productpage-v1")
    assert entry["requested_server_name"] == "outbound_.9080_._.reviews"
    assert entry["destination_service"] == "reviews.default.svc.cluster.local"


def test_ids_never_repeat(bench: Bench) -> None:
    for _ in range(3):
        bench.outbound()
    first = [entry["id"] for _, _, entry in bench.entries()]
    bench.outbound()
    second = [entry["id"] for _, _, entry in bench.entries()]
    assert [*first, *second] == [f"node-1/e1/{number:012d}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("field", "key", "value", "expected"),
    [
        pytest.param("url", "path", b"/\xff\xfe", "/\\xff\\xfe", id="bytes that are no text"),
        pytest.param("url", "path", "/é€".encode(), "/é€", id="text beyond ASCII"),
        pytest.param("url", "path", b"/" + b"a" * 60_000, "/" + "a" * 1023, id="a giant path is cut"),
        pytest.param("user_agent", "user_agent", b"\xe9", "\\xe9", id="user agent"),
        pytest.param("user_agent", "user_agent", b"", "", id="an empty user agent"),
        pytest.param("forwarded_for", "x_forwarded_for", b"x" * 9_000, "x" * 1024, id="a giant x-forwarded-for"),
        pytest.param("request_id", "request_id", b"\xff", "\\xff", id="request id"),
        pytest.param("method", "method", b"M\xff", "M\\xff", id="method"),
    ],
)
def test_hostile_texts(bench: Bench, field: str, key: str, value: bytes, expected: str) -> None:
    bench.outbound(**{field: value})
    ((_, _, entry),) = bench.entries()
    assert entry[key] == expected
    assert entry.keys() == set(ACCESS_KEYS)


def test_no_entry_where_the_listener_has_no_access_log(bench: Bench) -> None:
    record = bench.request(bench.downstream(access_log=False), trace=sampled())
    bench.finish(record)
    assert [type(message).__name__ for message in bench.telemetry.flush()] == ["Spans", "Metrics"]


def test_a_record_finished_twice_is_counted_but_recorded_once(bench: Bench) -> None:
    record = bench.outbound()
    bench.finish(record)
    access, metrics = bench.telemetry.flush()
    assert isinstance(access, AccessLog)
    assert access.count == 1
    assert isinstance(metrics, Metrics)
    assert metrics.http[0].requests == 1
    assert metrics.counters == (Growth("remora_requests_finished_twice_total", (), 1),)


def test_the_wall_clock_set_anew_is_followed_after_a_flush(bench: Bench) -> None:
    bench.clock.wall += 3600
    bench.telemetry.flush()
    bench.outbound()
    assert bench.entries()[0][2]["start_time"] == "2026-01-31T13:00:00.000000Z"


def test_a_renamed_node_speaks_under_its_new_name(bench: Bench) -> None:
    bench.telemetry.use_node(Node("node-2", PEER))
    bench.outbound()
    messages = bench.telemetry.flush()
    metrics = messages[-1]
    assert isinstance(metrics, Metrics)
    assert _labels(metrics.http[0])["source_workload"] == "ratings-v1"


# Bounds


def test_entries_beyond_the_bound_are_dropped_and_counted(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_entry_bytes=2_000)
    for _ in range(20):
        bench.outbound()
    access, metrics = bench.telemetry.flush()
    assert isinstance(access, AccessLog)
    assert isinstance(metrics, Metrics)
    assert 1 <= access.count < 5
    assert metrics.counters == (Growth("remora_access_log_dropped_total", (), 20 - access.count),)
    assert metrics.http[0].requests == 20
    bench.outbound()
    assert len(bench.entries()) == 1


def test_full_messages_leave_at_once_where_someone_takes_them(make_bench: Callable[..., Bench]) -> None:
    sent: list[AccessLog] = []
    bench = make_bench(message_bytes=2_000, emit=sent.append)
    for _ in range(10):
        bench.outbound()
    left = len(bench.entries())
    assert sum(message.count for message in sent) + left == 10
    assert all(2_000 <= len(message.entries) < 4_000 for message in sent)
    assert left < sent[0].count


def test_records_that_nobody_takes_are_counted_as_records_and_not_as_messages(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(message_bytes=2_000, emit=lambda message: False)
    for _ in range(10):
        bench.outbound()
    metrics = bench.metrics()
    assert metrics is not None
    [growth] = [each for each in metrics.counters if each.name == "remora_access_log_dropped_total"]
    assert 5 <= growth.value < 10
    assert metrics.http[0].requests == 10


def test_many_entries_leave_in_several_messages(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(message_bytes=2_000)
    for _ in range(10):
        bench.outbound()
    messages = [message for message in bench.telemetry.flush() if isinstance(message, AccessLog)]
    assert len(messages) > 2
    assert sum(message.count for message in messages) == 10
    assert all(len(message.entries) < 4_000 for message in messages)


def test_spans_beyond_the_bound_are_dropped_and_counted(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_spans=2)
    for _ in range(5):
        bench.outbound(trace=sampled())
    metrics = bench.metrics()
    assert metrics is not None
    assert metrics.counters == (Growth("remora_spans_dropped_total", (), 3),)


def test_series_beyond_the_bound_are_counted_together(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_series=3)
    for status in (200, 201, 202, 203, 203, 204, 200):
        bench.outbound(status=status)
    metrics = bench.metrics()
    assert metrics is not None
    counted = {
        (_labels(each)["source_workload"], _labels(each)["response_code"]): each.requests for each in metrics.http
    }
    assert counted == {
        ("reviews-v1", "200"): 2, ("reviews-v1", "201"): 1, ("reviews-v1", "202"): 1,
        ("overflow", "203"): 2, ("overflow", "204"): 1,
    }  # fmt: skip
    assert metrics.counters == (Growth("remora_metrics_overflowed_requests_total", (), 3),)


def test_idle_series_are_let_go_and_make_room(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_series=1, idle_s=60.0)
    bench.outbound(status=200)
    bench.metrics()
    bench.metrics()
    bench.clock.advance(61)
    bench.metrics()
    bench.outbound(status=201)
    bench.outbound(status=201)
    series = _only(bench.metrics())
    assert (_labels(series)["source_workload"], _labels(series)["response_code"], series.requests) == (
        "reviews-v1", "201", 2,
    )  # fmt: skip


def test_a_series_in_use_is_never_let_go(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(idle_s=60.0)
    for _ in range(5):
        bench.outbound()
        assert _only(bench.metrics()).requests == 1
        bench.clock.advance(59)


def test_callers_with_endless_metadata_fill_no_memory(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_sources=10, max_series=20)
    downstream = bench.downstream(Direction.INBOUND, principal=_CALLER_ID)
    target = bench.telemetry.target("default", INBOUND)
    for number in range(200):
        metadata = _metadata(WORKLOAD_NAME=f"w{number}", NAMESPACE="default")
        bench.finish(bench.request(downstream, target=target, peer_metadata=metadata))
    assert len(target.sources) <= 10
    metrics = bench.metrics()
    assert metrics is not None
    assert sum(each.requests for each in metrics.http) == 200
    assert len(metrics.http) == 21


def test_the_latest_sampled_request_of_each_bucket_is_an_exemplar(bench: Bench) -> None:
    slow, quick = bench.request(bench.downstream()), bench.request(bench.downstream())
    bench.finish(quick, 0.0001)
    for record, after_s, digit in ((slow, 0.7, b"1"), (bench.request(bench.downstream()), 0.8, b"2")):
        record.trace = sampled()
        record.trace.trace_id = digit * 32
        bench.finish(record, after_s)
    (exemplar,) = _only(bench.metrics()).exemplars
    assert (DURATION_BUCKETS_MS[exemplar.bucket], exemplar.trace_id) == (1000, "2" * 32)
    assert exemplar.duration_ms == pytest.approx(800)
    assert exemplar.time == pytest.approx(1769860800.8)
    bench.finish(bench.request(bench.downstream(), trace=sampled(flags=0)))
    assert _only(bench.metrics()).exemplars == (), "told once, and none of an unsampled request"
