"""Relayed connections: what is counted while they live, what is logged when they end."""

from mesh.records import ACCESS_KEYS, TCP_LABELS
from sidecar.config.listener import Direction
from sidecar.config.messages import Growth, Metrics
from sidecar.telemetry.recorder import Limits
from sidecar.telemetry.tcp import TcpRecord
from tests.sidecar.telemetry.conftest import INBOUND, OUTBOUND, RATINGS, Bench


def relayed(bench: Bench, direction: Direction = Direction.OUTBOUND, **downstream: object) -> TcpRecord:
    """A connection whose way is decided."""
    record = TcpRecord(bench.downstream(direction, **downstream), bench.clock.mono)
    outbound = direction is Direction.OUTBOUND
    record.target = bench.telemetry.target("", OUTBOUND if outbound else INBOUND)
    record.upstream = bench.telemetry.upstream(OUTBOUND, RATINGS, secure=True) if outbound else None
    record.attempts = 1
    bench.telemetry.tcp.opened(record)
    return record


def counters(bench: Bench) -> dict[str, int]:
    """The TCP metrics' growth."""
    return {each.name: each.value for each in growths(bench)}


def growths(bench: Bench) -> list[Growth]:
    metrics = bench.metrics()
    return [] if metrics is None else [each for each in metrics.counters if each.name.startswith("istio_tcp")]


def test_a_living_connection_is_counted_at_each_flush(bench: Bench) -> None:
    record = relayed(bench)
    record.received += 10
    assert counters(bench) == {"istio_tcp_connections_opened_total": 1, "istio_tcp_received_bytes_total": 10}
    assert counters(bench) == {}
    record.received += 1
    record.sent += 7
    assert counters(bench) == {"istio_tcp_received_bytes_total": 1, "istio_tcp_sent_bytes_total": 7}
    record.sent += 3
    bench.telemetry.tcp.closed(record, bench.clock.mono + 1)
    bench.telemetry.tcp.closed(record, bench.clock.mono + 2)
    assert counters(bench) == {"istio_tcp_sent_bytes_total": 3, "istio_tcp_connections_closed_total": 1}
    assert counters(bench) == {}


def test_the_caller_reports_whom_it_called(bench: Bench) -> None:
    relayed(bench)
    (growth,) = growths(bench)
    labels = dict(growth.labels)
    assert tuple(labels) == TCP_LABELS
    assert (labels["reporter"], labels["request_protocol"], labels["response_flags"]) == ("source", "tcp", "-")
    assert (labels["source_workload"], labels["destination_workload"]) == ("reviews-v1", "ratings-v1")
    assert labels["destination_service"] == "ratings.shop.svc.cluster.local"
    assert labels["destination_principal"] == "spiffe://cluster.local/ns/shop/sa/ratings"
    assert labels["connection_security_policy"] == "unknown"


def test_the_called_reports_who_proved_to_call(bench: Bench) -> None:
    principal = "spiffe://cluster.local/ns/shop/sa/ratings"
    relayed(bench, Direction.INBOUND, principal=principal)
    (growth,) = growths(bench)
    labels = dict(growth.labels)
    assert (labels["reporter"], labels["connection_security_policy"]) == ("destination", "mutual_tls")
    assert (labels["source_principal"], labels["source_workload_namespace"]) == (principal, "shop")
    assert (labels["destination_workload"], labels["destination_service_name"]) == ("reviews-v1", "reviews")


def test_the_end_says_why(bench: Bench) -> None:
    record = relayed(bench)
    record.add_flag("UF")
    record.add_flag("URX")
    bench.telemetry.tcp.closed(record, bench.clock.mono)
    flags = {each.name: dict(each.labels)["response_flags"] for each in growths(bench)}
    assert flags == {"istio_tcp_connections_opened_total": "-", "istio_tcp_connections_closed_total": "UF,URX"}


def test_an_entry_has_every_key(bench: Bench) -> None:
    record = relayed(bench, server_name="db.example")
    record.received, record.sent = 12, 34
    bench.telemetry.tcp.closed(record, bench.clock.mono + 0.25)
    ((_, _, entry),) = bench.entries()
    assert sorted(entry) == sorted(ACCESS_KEYS)
    assert entry["id"] == "node-1/e1/000000000001"
    assert entry["start_time"] == "2026-01-31T12:00:00.000000Z"
    assert (entry["protocol"], entry["method"], entry["response_code"]) == ("TCP", None, 0)
    assert (entry["bytes_received"], entry["bytes_sent"], entry["duration"]) == (12, 34, 250.0)
    assert entry["requested_server_name"] == "db.example"
    assert entry["upstream_host"] == "10.0.0.9:9080"
    assert entry["upstream_cluster"] == OUTBOUND.name
    assert entry["response_flags"] == "-"


def test_a_connection_that_went_nowhere_is_told_of_too(bench: Bench) -> None:
    record = TcpRecord(bench.downstream(), bench.clock.mono)
    record.add_flag("UH")
    bench.telemetry.tcp.closed(record, bench.clock.mono)
    messages = bench.telemetry.flush()
    names = [growth.name for each in messages if isinstance(each, Metrics) for growth in each.counters]
    assert names == ["istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"]


def test_too_many_combinations_are_counted_in_one() -> None:
    bench = Bench(Limits(max_series=1))
    first, second = relayed(bench), relayed(bench, Direction.INBOUND)
    first.received, second.received = 1, 2
    found = {dict(each.labels)["destination_workload"] for each in growths(bench)}
    assert found == {"ratings-v1", "overflow"}
    assert second.counted_received == 2


def test_idle_series_are_let_go() -> None:
    bench = Bench(Limits(idle_s=60.0))
    bench.telemetry.tcp.closed(relayed(bench), bench.clock.mono)
    assert counters(bench)
    for _ in range(2):
        assert counters(bench) == {}
        bench.clock.advance(61)
    assert not bench.telemetry.tcp._slots
