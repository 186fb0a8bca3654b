from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from dashboards.console.labels import LABEL_HEIGHT, LABEL_WIDTH, place_labels
from dashboards.console.layout import Layout, lay_out


def _overlaps(layout: Layout) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    places = place_labels(layout)
    return [
        (a, b)
        for a, b in combinations(places, 2)
        if abs(places[a][0] - places[b][0]) < LABEL_WIDTH and abs(places[a][1] - places[b][1]) < LABEL_HEIGHT
    ]


def test_a_service_that_calls_three_versions_has_each_label_level_with_its_version() -> None:
    members = {"a": "a", "b-v1": "b", "b-v2": "b", "b-v3": "b"}
    layout = lay_out(members, [("a", f"b-v{n}") for n in (1, 2, 3)], 1230)
    places = place_labels(layout)
    for n in (1, 2, 3):
        assert abs(places["a", f"b-v{n}"][1] - layout.positions[f"b-v{n}"][1]) < 10


def test_labels_lie_in_the_gap_and_not_on_workloads() -> None:
    layout = lay_out({"a": "a", "b": "b"}, [("a", "b")], 700)
    (a, b), (x, _) = [box.x for box in layout.boxes], place_labels(layout)["a", "b"]
    assert a + layout.boxes[0].width <= x - LABEL_WIDTH / 2
    assert x + LABEL_WIDTH / 2 <= b


names = st.sampled_from([f"n{i}" for i in range(14)])


@given(st.dictionaries(names, st.sampled_from("pqrstu"), min_size=2), st.lists(st.tuples(names, names), max_size=50))
def test_no_two_labels_overlap_whatever_the_graph(members: dict[str, str], edges: list[tuple[str, str]]) -> None:
    assert not _overlaps(lay_out(members, edges, 1230))
