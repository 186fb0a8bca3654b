"""Whatever is wrong, and wherever a field may be one of several things: our words, at the field as it was written."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from collectors.settings.explain import explain
from tests.collectors.settings.models import models
from tests.collectors.settings.test_load import OUT, ROUTE, violations

WRONG: list[Any] = [5, -1, 1.5, True, "", "x", "{", float("nan"), None, [], [[1]], [{}], {}, {"a": 1}, {1: [2]}]


@pytest.mark.parametrize(
    "model", models(), ids=lambda model: f"{model.__module__.removeprefix('collectors.')}.{model.__name__}"
)
def test_no_wrong_value_of_any_field_is_answered_in_pydantic_s_words(model: type[BaseModel]) -> None:
    names = {field.alias or name for name, field in model.model_fields.items()}
    for name in sorted(names):
        for value in WRONG:
            with_value = {name: tuple(value) if isinstance(value, list) else value}
            try:
                model.model_validate(with_value)
            except ValidationError as error:
                told = list(explain(error, model))
                assert told, f"{name}: {value!r} is refused without a word"
                for steps, message in told:
                    assert not steps or steps[0] in names, f"{steps} of {with_value}"
                    assert not any(isinstance(step, str) and ("[" in step or step == "ServerTls") for step in steps)
                    assert not message.startswith(("Input should", "Value error", "Assertion", "Field ")), (
                        f"{name}: {value!r}: {message}"
                    )


def listener(tls: str) -> str:
    return f"receivers:\n  forward:\n    listeners:\n      - address: 127.0.0.1:0\n        tls: {tls}\n{OUT}{ROUTE}"


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("5", [": must be a mapping (certificate_file: ..., key_file: ...), or mesh"]),
        ("Mesh", [": must be a mapping (certificate_file: ..., key_file: ...), or mesh"]),
        ("[mesh]", [": must be a mapping (certificate_file: ..., key_file: ...), or mesh"]),
        ("{}", [".certificate_file: is required; add it", ".key_file: is required; add it"]),
        ("{min_version: 1.4, certificate: x}",
         [".certificate_file: is required; add it", ".key_file: is required; add it",
          ".min_version: must be '1.2' or '1.3'",
          ".certificate: is not taken from the settings, since they are read by many: write certificate_file: PATH"]),
    ],
)  # fmt: skip
def test_a_field_that_is_a_mapping_or_a_word(tmp_path: Path, tls: str, said: list[str]) -> None:
    assert violations(tmp_path, listener(tls)) == [f"5: receivers.forward.listeners[0].tls{one}" for one in said]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("equals: [1]", "equals: must be text, a number, or true or false"),
        ("equals: {a: 1}", "equals: must be text, a number, or true or false"),
        ("one_of: [x, [1], 2]", "one_of[1]: must be text, a number, or true or false"),
        ("one_of: x", "one_of: must be a list (- ...)"),
        ("at_least: '5'", "at_least: must be a number"),
        ("at_most: true", "at_most: must be a number"),
    ],
)
def test_a_field_that_is_a_text_or_a_number(tmp_path: Path, condition: str, said: str) -> None:
    text = f"processors:\n  f:\n    type: filter\n    drop:\n      - {{field: x, {condition}}}\n{OUT}"
    assert violations(tmp_path, text + "routes: [{processors: [f], exporters: [out]}]\n") == [
        f"5: processors.f.drop[0].{said}"
    ]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("5", ": must be a mapping (type: ...)"),
        ("{}", ".type: is required; one of always, errors, slow, rate, rate_limit, attribute, and"),
        ("{type: slo}", ".type: is no type that there is; did you mean slow?; there are always, errors, slow, rate, "
         "rate_limit, attribute, and"),
        ("{type: slow}", ".threshold: is required; add it"),
        ("{type: rate, percent: '5'}", ".percent: must be a number, without quotes"),
        ("{type: rate, percent: true}", ".percent: must be a number, without quotes"),
        ("{type: attribute, key: a, values: [[1]]}", ".values[0]: must be text, a number, or true or false"),
        ("{type: and, policies: [{type: errors}]}", ".policies: is too short; at least 2"),
        ("{type: and, policies: [{type: errors}, {type: slow, treshold: 1s}]}",
         (".policies[1].threshold: is required; add it", ".policies[1].treshold: is unknown; did you mean threshold?")),
    ],
)  # fmt: skip
def test_a_mapping_whose_type_says_what_is_in_it(tmp_path: Path, policy: str, said: str | tuple[str, ...]) -> None:
    text = f"processors:\n  s:\n    type: tail_sampling\n    policies:\n      - {policy}\n{OUT}"
    found = violations(tmp_path, text + "routes: [{match: {signals: [traces]}, processors: [s], exporters: [out]}]\n")
    expected = (said,) if isinstance(said, str) else said
    assert found == [f"5: processors.s.policies[0]{one}" for one in expected]
