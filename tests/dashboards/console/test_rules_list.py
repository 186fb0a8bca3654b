import pytest

from dashboards.console.answers import Condition, Rule
from dashboards.console.rules_list import matches, verdict

ACCEPTED = Condition("Accepted", "True", "Accepted", "")


def failed(type_: str, reason: str) -> Condition:
    return Condition(type_, "False", reason, "why")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param((), ("", ""), id="a laptop's"),
        pytest.param((ACCEPTED,), ("accepted", "ok"), id="a good one"),
        pytest.param((failed("Accepted", "Invalid"),), ("not accepted", "bad"), id="one that is wrong"),
        pytest.param((ACCEPTED, failed("Analyzed", "Errors")), ("errors", "bad"), id="one that is wrong beside others"),
        pytest.param((ACCEPTED, failed("Analyzed", "Warnings")), ("warnings", "warn"), id="a doubtful one"),
        pytest.param(
            (ACCEPTED, failed("ResolvedRefs", "x")), ("unresolved", "warn"), id="a Gateway without its Secret"
        ),
        pytest.param(
            (ACCEPTED, failed("Programmed", "x")), ("not programmed", "warn"), id="a Gateway that nobody serves"
        ),
    ],
)
def test_a_rule_s_state_is_a_word(conditions: tuple[Condition, ...], expected: tuple[str, str]) -> None:
    assert verdict(conditions) == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [("", True), ("SHOP/rev", True), ("virtual accepted", True), ("reviews prod", False), ("errors", False)],
)
def test_a_filter_asks_for_all_of_its_words(text: str, found: bool) -> None:
    assert matches(Rule("VirtualService", "shop", "reviews", "e", (ACCEPTED,)), text) is found
