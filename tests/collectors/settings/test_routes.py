import time

import pytest
from pydantic import ValidationError

from collectors.settings.routes import Match, RouteSettings, compile_tags


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("app", ["app"], ["app.x", "apple", "", "x.app"]),
        ("app.*", ["app.x", "app."], ["app", "app.x.y", "xapp.x"]),
        ("app.**", ["app", "app.x", "app.x.y"], ["apple", "application.x"]),
        ("**", ["", "a", "a.b.c"], []),
        ("**.log", ["log", "a.log", "a.b.log"], ["a.logs", "alog"]),
        ("a.**.**", ["a", "a.b", "a.b.c"], ["ab", "b.a"]),
        ("**.**.z", ["z", "a.z", "a.b.z"], ["a", "az"]),
        ("a.**.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "a.zz", "ab.z"]),
        ("kube.*-system.**", ["kube.remora-system", "kube.kube-system.x"], ["kube.default.x"]),
        ("a+b.(c)", ["a+b.(c)"], ["aab.c"]),
    ],
)
def test_tag_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = compile_tags(Match.model_validate({"tags": [pattern]}).tags)
    assert compiled is not None
    assert [tag for tag in matching + others if compiled.fullmatch(tag)] == matching


def test_several_patterns_are_alternatives_and_none_match_all() -> None:
    compiled = compile_tags(("a.*", "b"))
    assert compiled is not None
    assert [bool(compiled.fullmatch(tag)) for tag in ("a.x", "b", "c")] == [True, True, False]
    assert compile_tags(()) is None


def test_the_worst_pattern_on_the_worst_tag_is_quick() -> None:
    (pattern,) = Match.model_validate({"tags": ["**.a.**.a.**.b"]}).tags
    compiled = compile_tags((pattern,))
    assert compiled is not None
    began = time.perf_counter()
    assert compiled.fullmatch(".".join("a" * 256)) is None
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("pattern", ["", "a b", "**a", "a.**b", "**.**.**.**", "{a}", "x" * 600])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Match.model_validate({"tags": [pattern]})


def test_a_route_that_asks_for_tags_or_severities_takes_logs_alone() -> None:
    assert RouteSettings.model_validate({"exporters": []}).signals() == ("logs", "traces", "metrics")
    for match in ({"tags": ["a"]}, {"severities": ["error"]}):
        assert RouteSettings.model_validate({"exporters": [], "match": match}).signals() == ("logs",)
    assert RouteSettings.model_validate({"exporters": [], "match": {"signals": ["traces"]}}).signals() == ("traces",)
    assert RouteSettings.model_validate({"exporters": [], "continue": True}).proceed
