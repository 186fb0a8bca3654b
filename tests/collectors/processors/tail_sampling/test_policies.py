"""Which traces the policies keep."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.processors.tail_sampling.policies import Policies
from collectors.processors.tail_sampling.settings import Settings
from collectors.settings.document import Invalid
from collectors.settings.load import load
from tests.collectors.build import NOW, span

TRACE = [
    span(7, 1, None, "productpage", start=NOW, ms=200, attributes={"http.route": "/productpage", "n": 5, "yes": True}),
    span(7, 2, 1, "reviews", start=NOW + 0.1, ms=500, resource={"service.version": "v3"}),
]
"""600 ms from the first start to the last end."""


def settings(*policies: dict[str, Any], **said: Any) -> Settings:
    return Settings.model_validate({"policies": list(policies), **said})


def keeper(*policies: dict[str, Any], spans: Any = TRACE, now: float = 0.0) -> str | None:
    return Policies(settings(*policies).policies).keeper(spans[0].trace_id, spans, now)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({"type": "always"}, True),
        ({"type": "errors"}, False),
        ({"type": "slow", "threshold": "600ms"}, True),
        ({"type": "slow", "threshold": "601ms"}, False),
        ({"type": "rate", "percent": 100}, True),
        ({"type": "rate", "percent": 0}, False),
        ({"type": "attribute", "key": "http.route"}, True),
        ({"type": "attribute", "key": "http.method"}, False),
        ({"type": "attribute", "key": "http.route", "values": ["/login", "/productpage"]}, True),
        ({"type": "attribute", "key": "http.route", "values": ["/login"]}, False),
        ({"type": "attribute", "key": "service.version", "values": ["v3"]}, True),
        ({"type": "attribute", "key": "http.route", "pattern": "^/product"}, True),
        ({"type": "attribute", "key": "http.route", "pattern": "^page"}, False),
        ({"type": "attribute", "key": "n", "pattern": "5"}, True),
        ({"type": "attribute", "key": "n", "values": [5]}, True),
        ({"type": "attribute", "key": "yes", "values": [True]}, True),
        ({"type": "attribute", "key": "yes", "values": [1]}, False),
        ({"type": "attribute", "key": "n", "min": 5, "max": 5}, True),
        ({"type": "attribute", "key": "n", "min": 6}, False),
        ({"type": "attribute", "key": "yes", "min": 0}, False),
        ({"type": "and", "policies": [{"type": "always"}, {"type": "slow", "threshold": "1ms"}]}, True),
        ({"type": "and", "policies": [{"type": "always"}, {"type": "errors"}]}, False),
    ],
)
def test_a_policy_keeps_what_it_says(policy: dict[str, Any], kept: bool) -> None:
    assert (keeper(policy) is not None) == kept


def test_one_error_in_a_trace_keeps_it() -> None:
    assert keeper({"type": "errors"}, spans=[*TRACE, span(7, 3, 2, "ratings", error=True)]) == "errors"


def test_one_of_several_policies_is_enough_and_the_first_is_named() -> None:
    slow = {"type": "slow", "threshold": "100ms", "name": "too-slow"}
    assert keeper({"type": "errors"}, slow, {"type": "always"}) == "too-slow"
    assert keeper({"type": "errors"}, {"type": "rate", "percent": 0}) is None


def test_a_rate_keeps_its_share_and_the_same_traces_everywhere() -> None:
    ids = [f"{number:032x}" for number in range(20_000)]  # ids of a sender that has no dice

    def kept(percent: float, salt: str = "") -> set[str]:
        policies = Policies(settings({"type": "rate", "percent": percent, "salt": salt}).policies)
        return {id_ for id_ in ids if policies.keeper(id_, TRACE, 0.0)}

    tenth = kept(10)
    assert 1_800 < len(tenth) < 2_200
    assert tenth == kept(10)
    assert tenth < kept(50)
    assert len(tenth & kept(10, "other")) < 400


def test_a_rate_limit_lets_through_as_many_spans_as_it_says_and_saves_up_a_second() -> None:
    policies = Policies(settings({"type": "rate_limit", "spans_per_second": 10}).policies)

    def kept(now: float) -> int:
        return sum(policies.keeper(TRACE[0].trace_id, TRACE, now) is not None for _ in range(50))

    assert kept(0.0) == 5  # two spans each
    assert kept(0.0) == 0
    assert kept(0.5) == 3  # the last one goes into debt
    assert kept(1.0) == 2
    assert kept(100.0) == 5
    assert kept(99.0) == 0  # a clock that went back


def test_a_limit_within_and_counts_only_what_reaches_it() -> None:
    limit = {"type": "rate_limit", "spans_per_second": 2}
    policies = Policies(settings({"type": "and", "policies": [{"type": "errors"}, limit]}).policies)
    failed = [span(7, 1, None, "a", error=True)]
    assert [policies.keeper(TRACE[0].trace_id, TRACE, 0.0) for _ in range(9)] == [None] * 9
    assert policies.keeper(failed[0].trace_id, failed, 0.0) == "and"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"policies": []}, "at least 1"),
        ({"policies": [{"type": "sometimes"}]}, "sometimes"),
        ({"policies": [{"type": "slow"}]}, "threshold"),
        ({"policies": [{"type": "slow", "threshold": 5}]}, "is no duration"),
        ({"policies": [{"type": "rate", "percent": 101}]}, "100"),
        ({"policies": [{"type": "rate_limit", "spans_per_second": 0}]}, "greater than 0"),
        ({"policies": [{"type": "attribute", "key": "a", "pattern": "("}]}, "no expression"),
        ({"policies": [{"type": "attribute", "key": "a", "values": ["x"], "min": 1}]}, "more than one of"),
        ({"policies": [{"type": "and", "policies": [{"type": "always"}]}]}, "at least 2"),
        ({"policies": [{"type": "always"}], "decision_wait": "2h"}, "3600"),
        ({"policies": [{"type": "always"}], "max_spans": 1}, "max_spans"),
    ],
)
def test_settings_that_are_wrong_say_so(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings.model_validate(said)


def test_policies_have_a_bounded_depth() -> None:
    policy: dict[str, Any] = {"type": "always"}
    for _ in range(5):
        policy = {"type": "and", "policies": [policy, {"type": "always"}]}
    with pytest.raises(ValidationError, match="deep"):
        settings(policy)


def test_a_mistake_in_a_policy_is_shown_at_its_line_with_what_would_be_right(tmp_path: Path) -> None:
    file = tmp_path / "collect.yaml"
    file.write_text("""\
processors:
  sampling:
    type: tail_sampling
    policies:
      - {type: sloww}
      - {type: slow, treshold: 5ms}
      - {percent: 5}
      - type: and
        policies: [{type: errors}, {type: rate, percent: many}]
routes:
  - {match: {signals: [traces]}, processors: [sampling], exporters: [store]}
exporters:
  store: {type: store}
""")
    with pytest.raises(Invalid) as caught:
        load(file)
    at = "processors.sampling.policies"
    assert [str(each).removeprefix(f"{file}:") for each in caught.value.violations] == [
        f"5: {at}[0].type: is no type that there is; did you mean slow?; there are always, errors, slow, rate, "
        "rate_limit, attribute, and",
        f"6: {at}[1].threshold: is required; add it",
        f"6: {at}[1].treshold: is unknown; did you mean threshold?",
        f"7: {at}[2].type: is required; one of always, errors, slow, rate, rate_limit, attribute, and",
        f"9: {at}[3].policies[1].percent: must be a number, without quotes",
    ]
