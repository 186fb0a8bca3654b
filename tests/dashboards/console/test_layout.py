from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.console.curves import loop_path, point_at_x, smooth_path
from dashboards.console.layout import Box, Layout, Measures, lay_out

BOOKINFO = {
    "unknown": "unknown",
    "bookinfo/ingress": "ingress",
    "bookinfo/productpage-v1": "productpage",
    "bookinfo/details-v1": "details",
    "bookinfo/reviews-v1": "reviews",
    "bookinfo/reviews-v2": "reviews",
    "bookinfo/reviews-v3": "reviews",
    "bookinfo/ratings-v1": "ratings",
}
CALLS = [
    ("unknown", "bookinfo/ingress"),
    ("bookinfo/ingress", "bookinfo/productpage-v1"),
    ("bookinfo/productpage-v1", "bookinfo/details-v1"),
    *[("bookinfo/productpage-v1", f"bookinfo/reviews-v{n}") for n in (1, 2, 3)],
    *[(f"bookinfo/reviews-v{n}", "bookinfo/ratings-v1") for n in (2, 3)],
]


def _overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height - 0.2 and b.y < a.y + a.height - 0.2


def _sound(layout: Layout) -> None:
    for a, b in combinations(layout.boxes, 2):
        assert not _overlap(a, b), f"{a.group!r} lies on {b.group!r}"
    for box in layout.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= layout.width
        assert box.y + box.height <= layout.height


def test_bookinfo_reads_from_left_to_right_and_fits_a_small_laptop() -> None:
    layout = lay_out(BOOKINFO, CALLS, 1230)
    _sound(layout)
    x = {node: point[0] for node, point in layout.positions.items()}
    order = [
        "unknown", "bookinfo/ingress", "bookinfo/productpage-v1", "bookinfo/reviews-v1", "bookinfo/ratings-v1"
    ]  # fmt: skip
    assert [x[node] for node in order] == sorted({x[node] for node in order})
    assert layout.width <= 1230
    assert layout.height <= 600


def test_versions_of_one_service_stand_above_one_another_in_one_box() -> None:
    layout = lay_out(BOOKINFO, CALLS, 1230)
    versions = [layout.positions[f"bookinfo/reviews-v{n}"] for n in (1, 2, 3)]
    assert len({x for x, _ in versions}) == 1
    assert [y for _, y in versions] == sorted({y for _, y in versions})
    assert sum(box.group == "reviews" for box in layout.boxes) == 1


def test_the_same_mesh_is_drawn_the_same_whatever_the_order_of_its_answer() -> None:
    again = lay_out(dict(reversed(BOOKINFO.items())), reversed(CALLS), 1230)
    assert again == lay_out(BOOKINFO, CALLS, 1230)


def test_an_edge_that_skips_a_layer_goes_around_what_stands_there() -> None:
    members = {name: name for name in "abc"}
    layout = lay_out(members, [("a", "b"), ("b", "c"), ("a", "c")], 1000)
    (middle,) = [box for box in layout.boxes if box.group == "b"]
    inside = [
        (x, y)
        for x, y in layout.paths["a", "c"]
        if middle.x <= x <= middle.x + middle.width and middle.y <= y <= middle.y + middle.height
    ]
    assert not inside


def test_edges_begin_and_end_at_the_borders_of_their_nodes() -> None:
    layout = lay_out(BOOKINFO, CALLS, 1230)
    half = Measures().node_width / 2
    for (source, target), path in layout.paths.items():
        assert path[0] == pytest.approx((layout.positions[source][0] + half, layout.positions[source][1]), abs=0.1)
        assert path[-1] == pytest.approx((layout.positions[target][0] - half, layout.positions[target][1]), abs=0.1)


def test_two_services_that_call_each_other_have_two_separate_edges() -> None:
    layout = lay_out({"a": "a", "b": "b"}, [("a", "b"), ("b", "a")], 800)
    forward, backward = layout.paths["a", "b"], layout.paths["b", "a"]
    assert forward[0][0] < forward[-1][0]
    assert backward[0][0] > backward[-1][0]
    assert abs(forward[0][1] - backward[-1][1]) >= 10


def test_a_cycle_of_three_and_a_call_to_oneself_are_drawn() -> None:
    layout = lay_out({n: n for n in "abc"}, [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")], 800)
    _sound(layout)
    assert len(layout.paths) == 4
    assert len(layout.paths["b", "b"]) > 2


def test_services_without_traffic_stand_in_rows_below() -> None:
    members = {f"s{i:02}": f"s{i:02}" for i in range(30)} | {"a": "a", "b": "b"}
    layout = lay_out(members, [("a", "b")], 1230)
    _sound(layout)
    flow = max(layout.positions["a"][1], layout.positions["b"][1])
    assert all(layout.positions[f"s{i:02}"][1] > flow for i in range(30))
    assert layout.width <= 1230


def test_an_empty_mesh_has_an_empty_drawing() -> None:
    layout = lay_out({}, [("a", "b")], 800)
    assert not layout.positions
    assert not layout.paths


nodes = st.sampled_from([f"n{i}" for i in range(12)])


@given(
    st.dictionaries(nodes, st.sampled_from("pqrstu"), min_size=1),
    st.lists(st.tuples(nodes, nodes), max_size=40),
    st.floats(300, 3000),
)
def test_any_graph_is_drawn_without_overlap(
    members: dict[str, str], edges: list[tuple[str, str]], width: float
) -> None:
    layout = lay_out(members, edges, width)
    _sound(layout)
    assert set(layout.positions) == set(members)
    assert set(layout.paths) == {(a, b) for a, b in edges if a in members and b in members}


def test_a_graph_of_fifty_workloads_is_laid_out_at_once() -> None:
    members = {f"w{i:02}": f"s{i // 2:02}" for i in range(50)}
    edges = [(f"w{i:02}", f"w{j:02}") for i in range(50) for j in (i + 3, i + 7, i + 20) if j < 50]
    _sound(lay_out(members, edges, 1230))


def test_a_curve_meets_its_points_and_labels_lie_on_it() -> None:
    path = smooth_path([(0, 0), (100, 50), (200, 50)])
    assert path[0] == (0, 0)
    assert (100, 50) in path
    assert path[-1] == (200, 50)
    assert point_at_x(path, 50) == pytest.approx((50, 25), abs=1)
    assert point_at_x(path, 500) == (200, 50)


def test_a_loop_leaves_and_returns_on_the_right() -> None:
    path = loop_path((10, 10), (10, 10), reach=30)
    assert max(x for x, _ in path) > 10
    assert path[0][1] < path[-1][1]
