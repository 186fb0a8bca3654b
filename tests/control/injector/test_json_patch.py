"""JSON patches: the difference says what is different, and is applied as python-json-patch applies it."""

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.injector.json_patch import PatchError, apply, difference, same

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.text("a~/01", max_size=3)
)
NAMED = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"x": SCALARS}),
    max_size=4,
    unique_by=lambda e: e["name"],
)
DOCUMENTS = st.recursive(
    SCALARS | NAMED,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a~/0-", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_a_difference_applied_makes_the_one_of_the_other(before: Any, after: Any) -> None:
    patch = difference(before, after)
    assert same(apply(before, patch), after)
    assert same(jsonpatch.apply_patch(before, patch), after)
    assert (patch == []) == same(before, after)


def test_an_item_that_comes_first_in_a_list_of_named_ones_is_one_step() -> None:
    before = {"c": [{"name": "web", "x": 1}, {"name": "log"}]}
    after = {"c": [{"name": "proxy"}, {"name": "web", "x": 2}, {"name": "log"}]}
    assert difference(before, after) == [
        {"op": "add", "path": "/c/0", "value": {"name": "proxy"}},
        {"op": "replace", "path": "/c/1/x", "value": 2},
    ]


def test_names_with_slashes_and_tildes_are_escaped_in_pointers() -> None:
    assert difference({"a": {}}, {"a": {"x~y/z": 1}}) == [{"op": "add", "path": "/a/x~0y~1z", "value": 1}]


def test_true_is_not_one() -> None:
    assert difference([True], [1]) == [{"op": "replace", "path": "", "value": [1]}]


@pytest.mark.parametrize(
    "step",
    [
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/a/7", "value": 1},
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "add", "path": "/a/0/b/c", "value": 1},
        {"op": "move", "path": "/a", "from": "/b"},
    ],
    ids=str,
)
def test_a_step_that_does_not_fit_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        apply({"a": [1]}, [step])
