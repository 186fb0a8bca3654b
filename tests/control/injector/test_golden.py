"""Injection, kept to be read: each case holds settings, namespace and pod, `--- # expected`, and what comes of it.

`show` names what of the injected pod is of interest, items of lists by their names; without, the whole patch is shown.
`pytest --update-golden` rewrites what is expected; the difference is for a person to read.
"""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from control.injector import Denied, Injected, InjectorSettings, NamespaceFacts, Skipped, inject
from tests.control.injector.judges import assert_fit, injected
from tests.kubernetes.published_types import problems_of_pod

CASES = sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
MARK = "--- # expected\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_what_is_injected_is_what_was_read_before(path: Path, update_golden: bool) -> None:
    text, _, expected = path.read_text().partition(MARK)
    case, namespace, settings = read(text)
    outcome = inject(case["pod"], namespace, settings)
    if isinstance(outcome, Injected) and outcome.patch:
        assert problems_of_pod(case["pod"]) == [], "the case itself is no pod"
        after, _ = injected(case["pod"], namespace, settings)
        assert_fit(after, settings)
    found = dump(shown(outcome, case))
    if update_golden:
        path.write_text(f"{text.rstrip()}\n{MARK}{found}")
        return
    assert found == expected, f"differs from {path.name}; read the difference, then --update-golden"


def read(text: str) -> tuple[dict[str, Any], NamespaceFacts, InjectorSettings]:
    """A case, and what it says of namespace and settings."""
    case = YAML(typ="safe").load(text)
    settings = InjectorSettings.model_validate({"image": "remora/remora:test"} | case.get("settings", {}))
    given = case.get("namespace", {"labels": {"remora.io/injection": "enabled"}})
    return (
        case,
        NamespaceFacts(given.get("name", "shop"), given.get("labels", {}), given.get("annotations", {})),
        settings,
    )


def shown(outcome: Any, case: dict[str, Any]) -> dict[str, Any]:
    """What the case asks to see."""
    match outcome:
        case Denied():
            return {"denied": [str(each) for each in outcome.findings]}
        case Skipped():
            return {"skipped": outcome.reason} | ({"warnings": outcome.warnings} if outcome.warnings else {})
    result: dict[str, Any] = {"warnings": outcome.warnings} if outcome.warnings else {}
    if "show" not in case:
        return result | {"patch": outcome.patch}
    import jsonpatch

    after = jsonpatch.apply_patch(case["pod"], outcome.patch)
    return result | {"injected": {place: select(after, place) for place in case["show"]}}


def select(value: Any, place: str) -> Any:
    """`spec.containers.web.env.A.value`: fields, and items of lists by name. `*` for the names of a list's items."""
    for step in place.split(" "):
        if step == "*":
            return [each["name"] for each in value]
        if isinstance(value, list):
            value = next((each for each in value if each.get("name") == step), None)
        elif isinstance(value, dict):
            value = value.get(step)
    return value


def dump(value: dict[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 1000
    stream = StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


def test_there_are_a_hundred_cases() -> None:
    assert len(CASES) >= 100
