from contextlib import closing
from pathlib import Path

import pytest

from collectors.records import Batch, Labels, Sample
from collectors.store import Reader
from collectors.store.answers import Graph, GraphEdge
from tests.collectors.build import NOW, bookinfo, durations, fill, labels, requests


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.sqlite"


def graph_of(path: Path, samples: list[Sample], *, window_s: float = 60) -> Graph:
    fill(path, Batch(samples=samples))
    reader = Reader.open(path)
    try:
        return reader.graph(NOW, window_s)
    finally:
        reader.close()


def only_edge(graph: Graph) -> GraphEdge:
    (edge,) = graph.edges
    return edge


def test_bookinfo_is_drawn_with_rates_latencies_and_locks(path: Path) -> None:
    bookinfo(path)
    reader = Reader.open(path)
    graph = reader.graph(NOW, 60)
    edges = {(edge.source, edge.destination): edge for edge in graph.edges}
    assert set(edges) == {
        ("unknown", "default/productpage-v1"),
        ("default/productpage-v1", "default/details-v1"),
        ("default/productpage-v1", "default/reviews-v1"),
        ("default/productpage-v1", "default/reviews-v3"),
        ("default/reviews-v3", "default/ratings-v1"),
    }
    assert edges["default/productpage-v1", "default/reviews-v1"].requests_per_s == pytest.approx(8.0)
    assert edges["default/productpage-v1", "default/reviews-v1"].mtls
    assert not edges["unknown", "default/productpage-v1"].mtls
    assert 8 < (edges["default/productpage-v1", "default/details-v1"].p50_ms or 0) < 13
    nodes = {node.id: node for node in graph.nodes}
    assert nodes["default/reviews-v3"].app == "reviews"
    assert nodes["default/reviews-v3"].version == "v3"
    assert nodes["unknown"].requests_per_s == 0
    assert nodes["default/productpage-v1"].requests_per_s == pytest.approx(10)
    services = {service.name: service for service in reader.services(NOW, 60)}
    assert services["reviews"].versions == ("v1", "v3")
    assert services["reviews"].requests_per_s == pytest.approx(10)
    assert services["productpage"].mtls is False
    reader.close()


def test_the_destination_s_report_is_believed_and_not_added_to_the_source_s(path: Path) -> None:
    seen, sent = labels("a-v1", "b-v1"), labels("a-v1", "b-v1", reporter="source")
    graph = graph_of(
        path,
        [requests(NOW - 59, 0, seen), requests(NOW, 60, seen), requests(NOW - 59, 0, sent), requests(NOW, 66, sent)],
    )
    assert only_edge(graph).requests_per_s == pytest.approx(1.0)
    assert only_edge(graph).mtls


def test_where_only_the_source_reports_it_counts_but_proves_no_mutual_tls(path: Path) -> None:
    sent = labels("a-v1", "b-v1", reporter="source")
    edge = only_edge(graph_of(path, [requests(NOW - 59, 0, sent), requests(NOW, 60, sent)]))
    assert edge.requests_per_s == pytest.approx(1.0)
    assert not edge.mtls


def test_requests_that_never_arrived_are_added_as_errors(path: Path) -> None:
    seen = labels("a-v1", "b-v1")
    aborted = labels("a-v1", "b-v1", reporter="source", response_code="503", response_flags="UF,URX")
    edge = only_edge(
        graph_of(
            path,
            [
                requests(NOW - 59, 0, seen),
                requests(NOW, 60, seen),
                requests(NOW - 59, 0, aborted),
                requests(NOW, 20, aborted),
            ],
        )
    )
    assert edge.requests_per_s == pytest.approx(80 / 60)
    assert edge.error_rate == pytest.approx(0.25)
    assert edge.mtls, "all that arrived came over mutual TLS"


def test_a_request_without_a_workload_is_drawn_to_its_service(path: Path) -> None:
    lost = labels(
        "a-v1",
        "b-v1",
        reporter="source",
        response_code="503",
        response_flags="UH",
        destination_workload="unknown",
        destination_workload_namespace="unknown",
        destination_version="unknown",
    )
    graph = graph_of(path, [requests(NOW - 59, 0, lost), requests(NOW, 6, lost)])
    assert only_edge(graph).destination == "service:default/b"
    assert only_edge(graph).error_rate == 1.0
    assert not only_edge(graph).mtls, "nothing arrived that could prove it"


def test_what_a_fault_filter_answered_ends_at_the_service_and_at_no_workload_of_its_name(path: Path) -> None:
    """As Kiali's graph: the aborted requests' edge ends at the service's node."""
    arrived = labels("a-v1", "b-v1", destination_workload="b")
    nowhere = {"destination_workload": "unknown", "destination_workload_namespace": "unknown"}
    aborted = labels(
        "a-v1", "b-v1", reporter="source", response_code="503", response_flags="FI", destination_version="unknown",
        **nowhere,
    )  # fmt: skip
    samples = [requests(NOW - 59, 0, one) for one in (arrived, aborted)]
    fill(path, Batch(samples=[*samples, requests(NOW, 60, arrived), requests(NOW, 30, aborted)]))
    with closing(Reader.open(path)) as reader:
        graph = reader.graph(NOW, 60)
        (service,) = [node for node in graph.nodes if node.is_service]
        (workload,) = [node for node in graph.nodes if node.id == "default/b"]
        assert (service.id, service.workload, service.namespace, service.app) == (
            "service:default/b",
            "",
            "default",
            "b",
        )
        assert (service.error_rate, workload.error_rate) == (1.0, 0.0), "the workload did nothing wrong"
        assert {(edge.source, edge.destination) for edge in graph.edges} == {
            ("default/a-v1", "default/b"),
            ("default/a-v1", "service:default/b"),
        }
        assert [one.workload for one in reader.workloads(NOW, 60)] == ["b"], "a service is no workload"
        (summary,) = reader.services(NOW, 60)
        assert summary.name == "b"
        assert summary.error_rate == pytest.approx(1 / 3), "but its service did fail"


def test_one_plaintext_request_opens_the_lock(path: Path) -> None:
    locked, plain = labels("a-v1", "b-v1"), labels("a-v1", "b-v1", connection_security_policy="none")
    samples = [requests(NOW - 59, 0, locked), requests(NOW, 600, locked)]
    edge = only_edge(graph_of(path, [*samples, requests(NOW - 59, 0, plain), requests(NOW, 1, plain)]))
    assert not edge.mtls


def test_a_restarted_counter_goes_on_from_zero(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    samples = [requests(NOW - 60 + 10 * index, value, series) for index, value in enumerate([100, 130, 20, 50])]
    assert only_edge(graph_of(path, samples)).requests_per_s == pytest.approx(80 / 60)


def test_a_series_that_ended_and_came_back_is_not_counted_twice(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    samples = [
        requests(NOW - 50, 100, series),
        requests(NOW - 40, None, series),
        requests(NOW - 30, 110, series),
    ]
    assert only_edge(graph_of(path, samples)).requests_per_s == pytest.approx(10 / 60)


def test_a_value_from_before_the_window_is_its_beginning(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    samples = [requests(NOW - 100, 40, series), requests(NOW - 10, 100, series)]
    assert only_edge(graph_of(path, samples, window_s=30)).requests_per_s == pytest.approx(2.0)


def test_what_does_not_move_has_no_edge_but_its_service_stays_listed(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    fill(path, Batch(samples=[requests(NOW - 100, 40, series), requests(NOW - 40, 40, series)]))
    reader = Reader.open(path)
    assert reader.graph(NOW, 30).edges == ()
    (service,) = reader.services(NOW, 30)
    assert (service.name, service.versions, service.requests_per_s, service.p99_ms) == ("b", ("v1",), 0, None)
    assert reader.services(NOW + 3600, 30) == []
    reader.close()


def test_latencies_are_those_of_the_window_alone_and_survive_a_restart(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    slow, fast = [900.0] * 100, [2.0] * 100
    samples = [
        requests(NOW - 100, 100, series),
        durations(NOW - 100, slow, series),
        requests(NOW - 20, 200, series),
        durations(NOW - 20, slow + fast, series),
        requests(NOW - 10, 50, series),
        durations(NOW - 10, fast[:50], series),
    ]
    edge = only_edge(graph_of(path, samples))
    assert edge.requests_per_s == pytest.approx(150 / 60)
    assert edge.p99_ms is not None
    assert 1 < edge.p99_ms <= 5


def test_series_are_found_by_labels_and_histograms_expand(path: Path) -> None:
    series = labels("a-v1", "b-v1")
    fill(path, Batch(samples=[requests(NOW, 1, series), requests(NOW + 1, 3, series), durations(NOW, [2, 70], series)]))
    reader = Reader.open(path)
    (found,) = reader.series("istio_requests_total", {"source_workload": "a-v1"})
    assert found.points == ((NOW, 1.0), (NOW + 1, 3.0))
    assert reader.series("istio_requests_total", {"source_workload": "x"}) == []
    (count,) = reader.series("istio_request_duration_milliseconds_count")
    assert count.points == ((NOW, 2.0),)
    (total,) = reader.series("istio_request_duration_milliseconds_sum")
    assert total.points == ((NOW, 72.0),)
    buckets = reader.series("istio_request_duration_milliseconds_bucket", {"le": "5"})
    assert [one.points for one in buckets] == [((NOW, 1.0),)]
    assert len(reader.series("istio_request_duration_milliseconds_bucket")) == 20
    assert reader.series("istio_requests_total", {}, NOW + 1, NOW + 1) == []
    reader.close()


def carried(time: float, value: float, series: Labels, *, direction: str = "sent") -> Sample:
    return Sample(f"istio_tcp_{direction}_bytes_total", series, time, value)


def connections(source: str, destination: str, *, reporter: str, principal: str) -> Labels:
    """Labels of a relayed connection; who calls is known to its own side, and to the other only by a certificate."""
    series = dict(labels(source, destination, reporter=reporter, source_principal=principal, request_protocol="tcp"))
    del series["response_code"]
    return tuple(sorted(series.items()))


READER = "spiffe://cluster.local/ns/default/sa/reader"


def test_connections_of_bytes_are_drawn_once_with_what_each_side_knows(path: Path) -> None:
    sent = connections("reader-v1", "cache-v1", reporter="source", principal=READER)
    seen = connections("unknown", "cache-v1", reporter="destination", principal=READER)
    fill(
        path,
        Batch(
            samples=[
                *(carried(NOW - 60, 0, series) for series in (sent, seen)),
                *(carried(NOW - 1, 6000, series) for series in (sent, seen)),
                carried(NOW - 60, 0, sent, direction="received"),
                carried(NOW - 1, 600, sent, direction="received"),
            ]
        ),
    )
    reader = Reader.open(path)
    edge = only_edge(reader.graph(NOW, 60))
    assert (edge.source, edge.destination, edge.protocol) == ("default/reader-v1", "default/cache-v1", "tcp")
    assert (edge.requests_per_s, edge.bytes_per_s, edge.mtls) == (0, pytest.approx(110), True)
    (service,) = reader.services(NOW, 60)
    assert (service.name, service.versions, service.bytes_per_s) == ("cache", ("v1",), pytest.approx(110))
    reader.close()


def test_connections_of_a_client_that_nobody_reports_are_drawn_from_the_outside(path: Path) -> None:
    seen = connections("unknown", "cache-v1", reporter="destination", principal="unknown")
    edge = only_edge(graph_of(path, [carried(NOW - 60, 0, seen), carried(NOW - 1, 6000, seen)]))
    assert (edge.source, edge.bytes_per_s) == ("unknown", pytest.approx(100))


@pytest.mark.parametrize(("status", "rate"), [("0", 0.0), ("5", 0.0), ("14", 1.0)])
def test_a_grpc_call_fails_by_its_own_status(path: Path, status: str, rate: float) -> None:
    series = labels("a-v1", "b-v1", request_protocol="grpc", grpc_response_status=status)
    edge = only_edge(graph_of(path, [requests(NOW - 60, 0, series), requests(NOW - 1, 10, series)]))
    assert edge.error_rate == pytest.approx(rate)
