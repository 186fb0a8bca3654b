from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dashboards.console.ordering import acyclic, crossings, longest_path_layers, order_layers, spread


def test_a_cycle_is_cut_against_the_flow_from_who_is_not_called() -> None:
    assert acyclic(["a", "b", "c"], {"a": ["b"], "b": ["c"], "c": ["b"]}) == {("c", "b")}


def test_a_graph_without_cycles_is_left_alone() -> None:
    assert acyclic(["a", "b", "c"], {"a": ["b", "c"], "b": ["c"]}) == set()


def test_a_chain_of_five_thousand_does_not_exhaust_the_stack() -> None:
    names = [f"n{i:04}" for i in range(5000)]
    assert acyclic(names, {a: [b] for a, b in pairwise(names)}) == set()


@given(st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=20))
def test_turning_the_cut_edges_around_leaves_layers_in_which_every_edge_leads_on(edges: set[tuple[str, str]]) -> None:
    nodes = list("abcdef")
    plain = sorted(edge for edge in edges if edge[0] != edge[1])
    successors: dict[str, list[str]] = {}
    for source, target in plain:
        successors.setdefault(source, []).append(target)
    back = acyclic(nodes, successors)
    forward = sorted({(b, a) if (a, b) in back else (a, b) for a, b in plain})
    layers = longest_path_layers(nodes, forward)
    assert all(layers[source] < layers[target] for source, target in forward)


def test_two_crossing_edges_are_untangled() -> None:
    edges = [("a", "y"), ("b", "x")]
    assert crossings([["a", "b"], ["x", "y"]], edges) == 1
    ordered = order_layers([["a", "b"], ["x", "y"]], edges)
    assert crossings(ordered, edges) == 0


def test_spread_leaves_alone_what_already_has_room() -> None:
    assert spread([0, 50, 100], [10, 10]) == [0, 50, 100]


def test_spread_shares_the_push_between_two_that_want_the_same_place() -> None:
    assert spread([10, 10], [4]) == [8, 12]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.data())
def test_spread_keeps_order_and_gaps_for_any_wishes(wishes: list[float], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.floats(0, 100), min_size=len(wishes) - 1, max_size=len(wishes) - 1))
    places = spread(wishes, gaps)
    for first, second, gap in zip(places, places[1:], gaps, strict=False):
        assert second - first >= gap - 1e-6
