"""Routes to which those before them leave nothing."""

import random
from typing import Any

import pytest

from collectors.settings.reach import covers, unreachable
from collectors.settings.routes import RouteSettings, compile_tags


def routes(*said: dict[str, Any]) -> list[RouteSettings | None]:
    return [RouteSettings.model_validate({"exporters": (), **one}) for one in said]


def match(**said: list[str]) -> dict[str, Any]:
    return {"match": said}


ALL: dict[str, Any] = {}
GO_ON = {"continue": True}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([ALL, ALL], [(1, (0,))], id="behind one that takes all"),
        pytest.param([GO_ON, ALL], [], id="behind one that continues"),
        pytest.param([match(tags=["app.**"]), ALL], [], id="behind one that takes some"),
        pytest.param([match(signals=["logs"]), match(signals=["traces"]), ALL], [], id="metrics are left"),
        pytest.param([match(signals=["logs", "metrics"]), match(signals=["traces"]), ALL], [(2, (0, 1))],
                     id="several take all between them"),
        pytest.param([match(severities=["error"]), match(severities=["info", "warning"]), match(severities=["debug"]),
                      match(tags=["a"])], [(3, (0, 1, 2))], id="severities add up to all logs"),
        pytest.param([match(severities=["error"]), match(tags=["a"])], [], id="not all severities"),
        pytest.param([match(tags=["app.**"], severities=["error"]), match(tags=["app.web"], severities=["error"])],
                     [(1, (0,))], id="a tag within another's pattern"),
        pytest.param([match(tags=["app.*"]), match(tags=["app.a.b", "app.c"])], [], id="one of two tags is left"),
        pytest.param([match(tags=["b", "a"]), match(tags=["a", "b"])], [(1, (0,))], id="tags in another order"),
        pytest.param([ALL, match(signals=["metrics"]), match(severities=["error"])], [(1, (0,)), (2, (0,))],
                     id="each that gets nothing"),
    ],
)  # fmt: skip
def test_routes_that_never_get_a_record(
    said: list[dict[str, Any]], expected: list[tuple[int, tuple[int, ...]]]
) -> None:
    assert [tuple(one) for one in unreachable(routes(*said))] == expected


def test_a_route_that_is_wrong_takes_nothing_for_sure() -> None:
    (one,) = routes(ALL)
    assert list(unreachable([None, one])) == []


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("**", "a.*.b", True),
        ("a.**", "a", True),
        ("a.**", "a.**", True),
        ("a.**", "a.b.**.c", True),
        ("a.*", "a.b*", True),
        ("a*b", "a*x*b", True),
        ("a.*", "a.**", False),
        ("a.*", "a", False),
        ("a.**.c", "a.**.b.c", True),
        ("**.c", "**.d", False),
        ("a?", "ab", False),
        ("a-1", "a*1", False),
    ],
)
def test_whether_a_pattern_covers_another(wide: str, narrow: str, expected: bool) -> None:
    assert covers(wide, narrow) is expected


def test_what_is_covered_is_matched() -> None:
    """By chance: whatever the narrow pattern matches, the wide one does."""
    rng = random.Random(5)
    parts = ["a", "b", "*", "**", "a*", "*b"]
    tags = [".".join(rng.choices(["a", "b", "ab", "aab"], k=rng.randint(1, 4))) for _ in range(200)]
    checked = 0
    for _ in range(3_000):
        wide, narrow = (".".join(rng.choices(parts, k=rng.randint(1, 3))) for _ in range(2))
        if covers(wide, narrow):
            wider, narrower = compile_tags((wide,)), compile_tags((narrow,))
            assert wider is not None
            assert narrower is not None
            for tag in tags:
                if narrower.fullmatch(tag):
                    checked += 1
                    assert wider.fullmatch(tag), f"{wide} covers {narrow}, and not {tag}"
    assert checked > 1_000
