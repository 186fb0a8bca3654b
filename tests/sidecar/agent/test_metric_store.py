"""What workers counted, summed and written as Prometheus reads it."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.records import DURATION_BUCKETS_MS, HTTP_LABELS, SIZE_BUCKETS_BYTES
from sidecar.agent.metric_store import IDLE_S, MetricStore
from sidecar.agent.own_metrics import OwnMetrics
from sidecar.agent.vitals import Vital
from sidecar.config.messages import Exemplar, Growth, HttpSeries, Metrics, Reading


class FakeClock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def buckets(bounds: tuple[float, ...], **at: int) -> tuple[int, ...]:
    counts = [0] * (len(bounds) + 1)
    for index, count in at.items():
        counts[int(index.removeprefix("b"))] = count
    return tuple(counts)


def series(requests: int = 3, **labels: str) -> HttpSeries:
    values = {name: f"{name}-value" for name in HTTP_LABELS} | {"reporter": "source", "response_code": "200"} | labels
    return HttpSeries(
        tuple(values[name] for name in HTTP_LABELS),
        requests,
        12.5,
        buckets(DURATION_BUCKETS_MS, b0=1, b2=1, b19=1),
        100,
        buckets(SIZE_BUCKETS_BYTES, b5=3),
        2000,
        buckets(SIZE_BUCKETS_BYTES, b9=3),
    )


def metrics(*http: HttpSeries, counters: tuple[Growth, ...] = (), gauges: tuple[Reading, ...] = ()) -> Metrics:
    return Metrics(http, counters, gauges)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MetricStore:
    return MetricStore(clock)


def lines(store: MetricStore, start: str) -> list[str]:
    return [line for line in "".join(store.render()).splitlines() if line.startswith(start)]


def test_requests_have_istios_labels_in_istios_order(store: MetricStore) -> None:
    store.add(0, metrics(series()))
    (line,) = lines(store, "istio_requests_total{")
    labels = line[line.index("{") + 1 : line.rindex("}")]
    assert [pair.split("=")[0] for pair in labels.split(",")] == list(HTTP_LABELS)
    assert line.endswith("} 3")


def test_histograms_are_cumulative_and_end_with_all(store: MetricStore) -> None:
    store.add(0, metrics(series()))
    found = lines(store, "istio_request_duration_milliseconds_bucket{")
    assert len(found) == len(DURATION_BUCKETS_MS) + 1
    counts = [(line.split('le="')[1].split('"')[0], int(line.split()[-1])) for line in found]
    assert counts[:4] == [("0.5", 1), ("1", 1), ("5", 2), ("10", 2)]
    assert counts[-2:] == [("3600000", 2), ("+Inf", 3)]
    assert lines(store, "istio_request_duration_milliseconds_sum")[0].endswith(" 12.5")
    assert lines(store, "istio_request_duration_milliseconds_count")[0].endswith(" 3")
    assert lines(store, "istio_request_bytes_sum")[0].endswith(" 100")
    assert lines(store, "istio_response_bytes_sum")[0].endswith(" 2000")


def test_growth_of_several_workers_and_messages_adds_up(store: MetricStore) -> None:
    for worker in (0, 1, 0):
        store.add(worker, metrics(series(), counters=(Growth("envoy_x_total", (("a", "1"),), 2),)))
    assert lines(store, "istio_requests_total{")[0].endswith("} 9")
    assert lines(store, "envoy_x_total{") == ['envoy_x_total{a="1"} 6']
    assert lines(store, "istio_request_bytes_bucket{")[-1].endswith(" 9")


def test_gauges_are_summed_over_workers_and_go_with_theirs(store: MetricStore) -> None:
    for worker, value in ((0, 1.0), (1, 2.0), (0, 5.0)):
        store.add(worker, metrics(gauges=(Reading("envoy_active", (), value),)))
    assert lines(store, "envoy_active ") == ["envoy_active 7"]
    store.forget(0)
    assert lines(store, "envoy_active ") == ["envoy_active 2"]
    store.forget(1)
    assert lines(store, "envoy_active") == []


def test_a_gauge_goes_when_its_worker_names_it_no_more(store: MetricStore) -> None:
    kept, gone = Reading("envoy_active", (("c", "kept"),), 1.0), Reading("envoy_active", (("c", "gone"),), 2.0)
    store.add(0, metrics(gauges=(kept, gone)))
    store.add(1, metrics(gauges=(gone,)))
    store.add(0, metrics(gauges=(kept,)))
    assert lines(store, "envoy_active{") == ['envoy_active{c="kept"} 1', 'envoy_active{c="gone"} 2']
    store.add(1, metrics(counters=(Growth("c_total", (), 1),)))
    assert lines(store, "envoy_active{") == ['envoy_active{c="kept"} 1']
    assert [name for name, _, _ in store.totals()] == ["c_total", "envoy_active"]


def test_of_members_the_newest_worker_knows_best(store: MetricStore) -> None:
    name = "envoy_cluster_membership_total"
    # The former worker drains: it is told of no change any more, and goes on reporting.
    for worker, value in ((1, 5.0), (2, 3.0), (1, 5.0)):
        store.add(worker, metrics(gauges=(Reading(name, (), value),)))
    assert lines(store, f"{name} ") == [f"{name} 3"]
    assert list(store.totals()) == [(name, (), 3.0)]
    store.forget(2)
    assert lines(store, f"{name} ") == [f"{name} 5"]


def test_counters_outlive_their_worker(store: MetricStore) -> None:
    store.add(0, metrics(series(), counters=(Growth("c_total", (), 4),)))
    store.forget(0)
    store.add(0, metrics(counters=(Growth("c_total", (), 1),)))
    assert lines(store, "c_total ") == ["c_total 5"]
    assert lines(store, "istio_requests_total{")[0].endswith("} 3")


def test_idle_series_are_let_go_and_busy_ones_stay(store: MetricStore, clock: FakeClock) -> None:
    store.add(0, metrics(series(response_code="200"), series(response_code="503")))
    clock.time += IDLE_S
    store.add(0, metrics(series(response_code="200")))
    store.expire()
    (line,) = lines(store, "istio_requests_total{")
    assert 'response_code="200"' in line
    assert line.endswith("} 6")


def test_too_many_combinations_of_labels_are_counted_together(clock: FakeClock) -> None:
    store = MetricStore(clock, max_http_series=2)
    for n in range(10):
        store.add(0, metrics(series(source_workload=f"w{n}", response_code="200")))
    found = lines(store, "istio_requests_total{")
    assert len(found) == 3
    assert 'source_workload="overflow"' in found[2]
    assert 'response_code="200"' in found[2]
    assert sum(int(line.split()[-1]) for line in found) == 30, "no request is lost"
    assert store.overflowed == 8


def test_too_many_other_series_are_dropped_and_counted(clock: FakeClock) -> None:
    store = MetricStore(clock, max_other_series=2)
    for n in range(5):
        store.add(0, metrics(counters=(Growth("c_total", (("n", str(n)),), 1),)))
    assert len(lines(store, "c_total{")) == 2
    assert store.overflowed == 3


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        pytest.param("1x", (), id="name that begins with a digit"),
        pytest.param("a-b", (), id="name with a dash"),
        pytest.param("a", (("b c", "1"),), id="label with a space"),
        pytest.param("a", (("__name__", "1"),), id="reserved label"),
        pytest.param("a", (("b", "1"), ("b", "2")), id="label given twice"),
        pytest.param("a\nb 1", (), id="line break in the name"),
    ],
)
def test_what_would_spoil_the_answer_is_left_out_and_counted(
    name: str, labels: tuple[tuple[str, str], ...], store: MetricStore
) -> None:
    store.add(0, metrics(counters=(Growth(name, labels, 1),), gauges=(Reading(name, labels, 1.0),)))
    assert "".join(store.render()) == ""
    assert store.malformed == 2


def test_label_values_are_escaped(store: MetricStore) -> None:
    value = 'back\\slash "quote" new\nline'
    store.add(0, metrics(counters=(Growth("c_total", (("v", value),), 1),)))
    (family,) = text_string_to_metric_families("".join(store.render()))
    assert family.samples[0].labels == {"v": value}


def everything(store: MetricStore) -> str:
    store.add(
        0,
        metrics(
            series(),
            series(reporter="destination", response_code="503"),
            counters=(
                Growth("envoy_cluster_upstream_cx_total", (("envoy_cluster_name", "outbound|80||a"),), 1),
                Growth("remora_spans_dropped_total", (), 1),
            ),
            gauges=(Reading("envoy_cluster_upstream_cx_active", (("envoy_cluster_name", "outbound|80||a"),), 1.0),),
        ),
    )
    vitals = [Vital("remora_agent_x_total", "Counted.", 3), Vital("remora_agent_y", "Read.", 0.5)]
    return "".join(store.render()) + OwnMetrics(lambda: vitals, list).render()


def test_the_whole_is_read_by_prometheus_client(store: MetricStore) -> None:
    families = {family.name: family for family in text_string_to_metric_families(everything(store))}
    assert families["istio_request_duration_milliseconds"].type == "histogram"
    assert families["istio_requests"].type == "counter"
    assert families["remora_agent_y"].type == "gauge"
    assert all(family.documentation for family in families.values())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_finds_nothing_but_istios_own_unit(store: MetricStore) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=everything(store), capture_output=True, text=True, timeout=30
    )
    findings = (done.stdout + done.stderr).splitlines()
    # Istio's name is a contract; Prometheus would rather have seconds.
    expected = 'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'
    assert findings == [expected]


def test_a_buckets_latest_exemplar_is_shown_where_it_is_wanted(store: MetricStore) -> None:
    for trace_id in ("1" * 32, "2" * 32):
        store.add(1, metrics(replace(series(), exemplars=(Exemplar(2, trace_id, 3.5, 1769860800.25),))))
    name = "istio_request_duration_milliseconds_bucket"
    wanted = [line for line in "".join(store.render(is_open=True)).splitlines() if line.startswith(name)]
    shown = [line for line in wanted if " # " in line]
    assert len(shown) == 1
    assert shown[0].endswith(f'le="5"}} 4 # {{trace_id="{"2" * 32}"}} 3.5 1769860800.250')
    assert "trace_id" not in "".join(store.render()), "the text format has none"
