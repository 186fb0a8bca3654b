import json
from collections.abc import Iterator
from typing import Any

import pytest

from collectors.store.answers import Graph, GraphEdge, GraphNode
from dashboards.console import graph_chart, graph_views
from dashboards.console.palette import DARK, LIGHT


def node(id_: str, rate: float = 5, errors: float = 0, *, app: str = "", version: str = "v1") -> GraphNode:
    namespace, _, workload = id_.rpartition("/")
    return GraphNode(id_, workload, namespace, app or workload.rpartition("-")[0] or workload, version, rate, errors)


def edge(source: str, target: str, rate: float = 5, errors: float = 0, *, mtls: bool = True) -> GraphEdge:
    return GraphEdge(source, target, rate, errors, 3.0, 20.0, mtls, "http")


def graph(nodes: list[GraphNode], edges: list[GraphEdge]) -> Graph:
    return Graph(0, 60, tuple(nodes), tuple(edges))


BOOKINFO = graph(
    [node("unknown", 0), node("d/productpage-v1"), node("d/reviews-v1"), node("d/reviews-v2", 5, 0.2, version="v2")],
    [
        edge("unknown", "d/productpage-v1", mtls=False),
        edge("d/productpage-v1", "d/reviews-v1"),
        edge("d/productpage-v1", "d/reviews-v2", 5, 0.2),
    ],
)


def items(drawing: graph_chart.Drawing) -> dict[str, Any]:
    return {item["id"]: item for series in drawing.option["series"] for item in series["data"] if "id" in item}


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from keys(inner)


def test_an_edge_says_its_rate_its_errors_and_whether_it_is_locked() -> None:
    drawn = items(graph_chart.draw(BOOKINFO, LIGHT, 1200, 600))
    failing = drawn["label d/productpage-v1 d/reviews-v2"]["label"]
    assert "5.00 req/s" in failing["formatter"]
    assert "20 % err" in failing["formatter"]
    assert failing["rich"]["errors"]["color"] == LIGHT.failing
    assert drawn["lock unknown d/productpage-v1"]["symbol"] != drawn["lock d/productpage-v1 d/reviews-v1"]["symbol"]
    assert drawn["lock unknown d/productpage-v1"]["itemStyle"]["color"] == LIGHT.degraded


def test_clicks_can_be_told_apart() -> None:
    drawn = items(graph_chart.draw(BOOKINFO, LIGHT, 1200, 600))
    assert drawn["node d/reviews-v1"]["node"] == "d/reviews-v1"
    assert drawn["label d/productpage-v1 d/reviews-v1"]["target"] == "d/reviews-v1"


def test_two_versions_share_a_box_with_their_service_s_name() -> None:
    (boxes, _, _) = graph_chart.draw(BOOKINFO, LIGHT, 1200, 600).option["series"]
    assert [box["label"]["formatter"] for box in boxes["data"]] == ["reviews"]


def test_figures_change_in_the_same_shape_and_workloads_change_the_shape() -> None:
    before = graph_chart.draw(BOOKINFO, DARK, 1200, 600)
    busier = graph([*BOOKINFO.nodes[:3], node("d/reviews-v2", 9)], list(BOOKINFO.edges))
    fewer = graph(list(BOOKINFO.nodes[:3]), list(BOOKINFO.edges[:2]))
    assert graph_chart.draw(busier, DARK, 1200, 600).shape == before.shape
    assert graph_chart.draw(fewer, DARK, 1200, 600).shape != before.shape
    assert graph_chart.draw(BOOKINFO, LIGHT, 1200, 600).shape != before.shape


def test_a_little_more_traffic_does_not_restart_the_dots() -> None:
    assert graph_chart.dot_period_s(24.0) == graph_chart.dot_period_s(25.0)
    assert graph_chart.dot_period_s(1) > graph_chart.dot_period_s(100) > 0
    assert graph_chart.dot_period_s(0) > 0


HOSTILE = [
    ":formatter", "{b}", "{name|x}", "a}b{c", "<img src=x onerror=alert(1)>", "__proto__", "\u202e", "n" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:12])
def test_a_hostile_name_is_a_value_and_never_a_key_or_a_template(name: str) -> None:
    nodes = [node(f"d/{name}", app=name, version=name), node("d/b"), node(f"d/{name}2", app=name)]
    option = graph_chart.draw(graph(nodes, [edge(f"d/{name}", "d/b")]), LIGHT, 1200, 600).option
    plain = graph_chart.draw(BOOKINFO, LIGHT, 1200, 600).option
    assert set(keys(option)) <= set(keys(plain))
    assert {key for key in keys(option) if key.startswith(":")} == {":formatter"}
    json.dumps(option)
    for item in option["series"][2]["data"]:
        text = item.get("label", {}).get("formatter", "")
        # What is left of braces are the styles that we wrote.
        assert text.count("}") == text.count("{name|") + text.count("{figures|") + text.count("{rate|") + text.count(
            "{errors|"
        )
        assert "{b}" not in text


def test_versions_are_joined_to_services_by_traffic() -> None:
    joined = graph_views.by_service(BOOKINFO)
    nodes = {one.id: one for one in joined.nodes}
    assert set(nodes) == {"unknown", "d/productpage", "d/reviews"}
    assert nodes["d/reviews"].requests_per_s == 10
    assert nodes["d/reviews"].error_rate == pytest.approx(0.1)
    assert nodes["d/reviews"].version == "v1, v2"
    both = next(one for one in joined.edges if one.destination == "d/reviews")
    assert (both.requests_per_s, both.p50_ms, both.mtls) == (10, None, True)
    assert both.error_rate == pytest.approx(0.1)


def test_a_mesh_of_a_thousand_workloads_shows_the_busiest() -> None:
    nodes = [node(f"d/w{i:04}-v1", rate=i) for i in range(1000)]
    edges = [edge(f"d/w{i:04}-v1", f"d/w{i + 1:04}-v1") for i in range(999)]
    shown = graph_views.busiest(graph(nodes, edges))
    assert len(shown.nodes) == graph_views.MAX_NODES
    assert shown.nodes[-1].id == "d/w0999-v1"
    kept = {one.id for one in shown.nodes}
    assert all(one.source in kept and one.destination in kept for one in shown.edges)


def test_fifty_workloads_are_drawn_larger_than_the_window_rather_than_unreadable() -> None:
    nodes = [node(f"d/s{i:02}-v1") for i in range(50)]
    edges = [edge(f"d/s{i:02}-v1", f"d/s{j:02}-v1") for i in range(50) for j in (2 * i + 1, 2 * i + 2) if j < 50]
    drawing = graph_chart.draw(graph(nodes, edges), LIGHT, 1236, 660)
    assert drawing.width >= 1236
    assert drawing.height > 660
    assert drawing.large


def test_fifty_workloads_can_be_seen_at_once() -> None:
    nodes = [node(f"d/s{i:02}-v1") for i in range(50)]
    edges = [edge(f"d/s{i:02}-v1", f"d/s{j:02}-v1") for i in range(50) for j in (2 * i + 1, 2 * i + 2) if j < 50]
    drawing = graph_chart.draw(graph(nodes, edges), LIGHT, 1236, 1200, fit=True)
    assert (drawing.width, drawing.height) == (1236, 1200)
    for item in items(drawing).values():
        assert 0 <= item["value"][0] <= 1236
        assert 0 <= item["value"][1] <= 1200


def test_an_empty_mesh_draws_nothing() -> None:
    drawing = graph_chart.draw(graph([], []), LIGHT, 1200, 600)
    assert all(not series["data"] for series in drawing.option["series"])


def test_connections_of_bytes_show_bytes_and_no_share_of_errors() -> None:
    relayed = GraphEdge("d/reader-v1", "d/cache-v1", 0, 0, None, None, True, "tcp", bytes_per_s=4560)
    caller = node("d/reader-v1", 0)
    cache = GraphNode("d/cache-v1", "cache-v1", "d", "cache", "v1", 0, 0, bytes_per_s=4560)
    drawn = items(graph_chart.draw(graph([caller, cache], [relayed]), LIGHT, 1200, 600))
    assert "sends 4.56 kB/s" in drawn["node d/reader-v1"]["label"]["formatter"]
    assert drawn["node d/cache-v1"]["label"]["formatter"].endswith("{figures|4.56 kB/s}")
    assert drawn["node d/cache-v1"]["itemStyle"]["borderColor"] == LIGHT.healthy
    assert drawn["label d/reader-v1 d/cache-v1"]["label"]["formatter"] == "{rate|4.56 kB/s}\n{errors|TCP}"
    assert drawn["label d/reader-v1 d/cache-v1"]["tip"].splitlines()[1:] == ["4.56 kB/s", "tcp, mutual TLS"]
