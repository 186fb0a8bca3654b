"""status, config, logs, traces, graph."""

import json
import math
import time
from typing import Any

import pytest

from collectors.records import Batch, Exemplar, Histogram, Sample
from collectors.store.answers import SpanEntry
from remora.commands import traces
from tests.collectors.build import fill
from tests.collectors.build import span as records_span
from tests.remora.conftest import FakeControl, Remora


def proxy(name: str, state: str = "synced", **more: Any) -> dict[str, Any]:
    return {
        "workload": name,
        "namespace": "default",
        "node_id": f"sidecar~{name}",
        "kind": "sidecar",
        "connected": state != "disconnected",
        "connected_since": 0.0,
        "state": state,
        "version": "7",
        "sent_version": "7",
        "types": {},
        "rejections": [],
        "pushes": 3,
        "last_push_ms": 12.3,
        **more,
    }


def answer(*proxies: dict[str, Any]) -> dict[str, Any]:
    return {"version": "7", "root_expires_at": 0.0, "proxies": list(proxies)}


def test_status_shows_every_sidecar_and_what_one_rejected(remora: Remora, control: FakeControl) -> None:
    rejection = {"type": "RDS", "path": "virtual_hosts[0].routes[1].match", "message": "regex too long", "at": 1.0}
    proxies = (proxy("reviews-v1"), proxy("reviews-v2", "rejected", rejections=[rejection]))
    control.answer("GET", "/v1/status", answer(*proxies))
    result = remora("status")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split()[:3] == ["WORKLOAD", "NAMESPACE", "KIND"]
    assert [line.split()[0] for line in lines[1:3]] == ["reviews-v1", "reviews-v2"]
    assert lines[3] == "rules: version 7"
    assert lines[4] == "rejected by reviews-v2: RDS: virtual_hosts[0].routes[1].match: regex too long"
    assert remora("status", "-o", "json").json() == answer(*proxies)


def test_status_tells_of_the_meshs_other_clusters(remora: Remora, control: FakeControl) -> None:
    known = {"message": "", "away_s": 0.0, "services": 3, "pods": 0, "shared": False}
    east = known | {"name": "east", "state": "joined", "pods": 2, "shared": True}
    south = known | {"name": "south", "state": "refused", "message": "the kubeconfig is no mapping", "services": 0}
    west = known | {"name": "west", "state": "away", "away_s": 90.0}
    control.answer("GET", "/v1/status", answer() | {"clusters": [east, south, west]})
    result = remora("status")
    assert result.status == 0
    assert result.out.splitlines()[-3:] == [
        "cluster east: joined (3 services, 2 pods configured from here)",
        "cluster south: refused (0 services); the kubeconfig is no mapping",
        "cluster west: away for 90s; what was known of it goes on (3 services)",
    ]


@pytest.mark.parametrize(("state", "status"), [("synced", 0), ("stale", 1), ("rejected", 1), ("disconnected", 1)])
def test_waiting_for_status_answers_by_exit_status(
    remora: Remora, control: FakeControl, state: str, status: int
) -> None:
    control.answer("GET", "/v1/status", answer(proxy("a"), proxy("b", state)))
    assert remora("status", "--wait", "0.05").status == status
    assert remora("status").status == 0


def test_config_finds_the_namespace_and_prints_routes(remora: Remora, control: FakeControl) -> None:
    weighted = {"clusters": [{"name": "outbound|9080|v1|reviews", "weight": 80}, {"name": "v3", "weight": 20}]}
    header = {"name": "end-user", "stringMatch": {"exact": "jason"}}
    resource = {
        "name": "outbound",
        "virtualHosts": [
            {
                "name": "reviews",
                "domains": ["reviews", "reviews:9080"],
                "routes": [
                    {"match": {"prefix": "/", "headers": [header]}, "route": {"cluster": "outbound|9080|v2|reviews"}},
                    {"match": {"prefix": "/"}, "route": {"weightedClusters": weighted}},
                    {"match": {"path": "/x"}, "directResponse": {"status": 404}},
                ],
            }
        ],
    }
    control.answer("GET", "/v1/status", answer(proxy("productpage-v1")))
    control.answer("GET", "/v1/config/default/productpage-v1/routes", {"version": "7", "resources": [resource]})
    lines = remora("config", "routes", "productpage-v1").out.splitlines()
    assert "prefix /, end-user: exact jason" in lines[1]
    assert lines[1].endswith("outbound|9080|v2|reviews")
    assert lines[2].endswith("outbound|9080|v1|reviews 80, v3 20")
    assert lines[3].endswith("status 404")
    assert remora("config", "routes", "productpage-v1", "-o", "json").json() == [resource]


def test_config_of_an_unknown_workload_names_the_known(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/status", answer(proxy("a"), proxy("b")))
    result = remora("config", "routes", "c")
    assert (result.status, result.err) == (1, "no workload c is registered; known: a, b\n")


def test_config_of_an_ambiguous_workload_asks_for_the_namespace(remora: Remora, control: FakeControl) -> None:
    control.answer("GET", "/v1/status", answer(proxy("a"), proxy("a", namespace="prod")))
    assert remora("config", "routes", "a").err == "a is in several namespaces (default, prod): say which with -n\n"


@pytest.mark.parametrize("command", [("logs",), ("traces",), ("graph",), ("traces", "00" * 16)])
def test_without_a_store_the_answer_is_how_to_get_one(remora: Remora, command: tuple[str, ...]) -> None:
    result = remora(*command)
    assert result.status == 1
    assert "start a mesh with `remora up`" in result.err
    assert result.err.count("\n") == 1


def test_an_unknown_severity_is_refused_with_the_known_ones(remora: Remora) -> None:
    result = remora("logs", "--severity", "warn")
    assert result.status == 2
    assert "'warn' is none of error, warning, info, debug" in result.err


@pytest.mark.parametrize("length", ["", "5", "x", "-1s", "1w", "10 m"])
def test_a_length_of_time_needs_a_unit(remora: Remora, length: str) -> None:
    result = remora("logs", f"--since={length}")
    assert result.status == 2
    assert "no length of time" in result.err


def span(name: str, parent: str | None, start: float, duration_ms: float = 10.0) -> SpanEntry:
    return SpanEntry("t", name, parent, "svc", "wl", name, "server", start, duration_ms, False, {})


@pytest.fixture
def a_trace() -> list[SpanEntry]:
    return [span("c", "b", 0.02), span("a", None, 0.0, 100.0), span("b", "a", 0.01), span("d", "a", 0.005)]


def test_spans_stand_below_their_parents_by_time(a_trace: list[SpanEntry]) -> None:
    shown = [(depth, each.span_id) for depth, each in traces.in_tree(a_trace)]
    assert shown == [(0, "a"), (1, "d"), (1, "b"), (2, "c")]


def test_a_span_without_its_parent_is_a_root_and_a_loop_ends() -> None:
    assert [each.span_id for _, each in traces.in_tree([span("x", "gone", 0.0), span("y", "y", 1.0)])] == ["x", "y"]


def test_the_waterfall_has_a_bar_for_every_span(a_trace: list[SpanEntry], capsys: pytest.CaptureFixture[str]) -> None:
    traces.print_waterfall(a_trace)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].count("█") == traces.BAR_COLUMNS
    assert all("█" in line for line in lines)


def test_a_trace_is_shown_by_the_beginning_of_its_id(remora: Remora, control: FakeControl) -> None:
    (control.state / "store").mkdir()
    ids = [f"4bf92f3{number}" + "0" * 24 for number in (5, 6)] + [f"aaaaaaaa{number:024x}" for number in range(7)]
    spans = [records_span(1, 1, None, "reviews")._replace(trace_id=one) for one in ids]
    fill(control.state / "store" / "telemetry.sqlite", Batch(spans=spans))
    assert "reviews server" in remora("traces", "4bf92f35").out
    assert remora("traces", "4bf92f3").err == "no trace 4bf92f3 is stored\n"
    several = remora("traces", "aaaaaaaa")
    assert several.status == 1
    assert several.err == f"aaaaaaaa begins several ids: {', '.join(ids[2:7])} and more; write more of it\n"


def test_a_histogram_s_buckets_name_the_slowest_request_that_was_traced(remora: Remora, control: FakeControl) -> None:
    (control.state / "store").mkdir()
    now = time.time()
    slow, quick = "0a" * 16, "0b" * 16
    exemplars = tuple(Exemplar((("trace_id", one),), value, now) for one, value in ((quick, 5.0), (slow, 50.0)))
    histogram = Histogram((10.0, math.inf), (1, 2), 55.0)
    sample = Sample("latency", (("app", "x"),), now, 2.0, histogram, "histogram", exemplars)
    fill(control.state / "store" / "telemetry.sqlite", Batch(samples=[sample]))
    lines = remora("metrics", "--series", "latency_bucket").out.splitlines()
    assert lines[0].split()[-2:] == ["SLOWEST", "EXAMPLE"]
    assert [line.split()[-1] for line in lines[1:]] == [quick, slow]
    first, second = json.loads(remora("metrics", "--series", "latency_bucket", "-o", "json").out)
    assert [one["trace_id"] for one in first["exemplars"]] == [quick], "no larger than its bound"
    assert [one["trace_id"] for one in second["exemplars"]] == [slow, quick]
