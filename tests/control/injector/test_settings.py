"""The injector's settings: every mistake is refused when they are read, with its field and what would be right."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from control.api.field_errors import explain
from control.api.resource import spell
from control.injector import InjectorSettings, annotations, quantities, traffic


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": "a b"}, "image: is 'a b'; write an image"),
        ({"nativeSidecar": True}, "nativeSidecar: is an unknown field; did you mean nativeSidecars?"),
        ({"controlAddress": "remora-control"}, "controlAddress: is 'remora-control'; write HOST:PORT"),
        ({"concurrency": 0}, "concurrency: "),
        ({"terminationDrainDuration": 5}, "terminationDrainDuration: is 5; write a duration with its unit"),
        ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}, "resources: requests.cpu is 2, more than"),
        ({"resources": {"requests": {"cpu": "much"}}}, "resources.requests.cpu: is 'much'; write a quantity"),
        ({"resources": {"requests": {"gpu": "1"}}}, "resources.requests.gpu"),
        ({"capture": {"excludeOutboundIPRanges": "10.0.0.1/8"}}, "capture.excludeOutboundIPRanges: is '10.0.0.1/8'"),
        ({"templates": {"sidecar": "spec: {}"}}, "templates has one named sidecar, which is Remora's own"),
        ({"templates": {"a": "spec: {containers: [{}]}"}}, "templates.a: spec.containers[0]: has no name"),
        ({"defaultTemplates": ["sidecar", "b"]}, "default_templates names 'b', which is not in templates"),
        ({"defaultTemplates": []}, "default_templates must contain sidecar"),
        ({"logLevel": "trace"}, "logLevel: "),
        ({"revision": "A b"}, "revision: "),
    ],
)
def test_a_mistake_is_refused_with_its_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        InjectorSettings.model_validate(given)
    lines = [f"{spell(path)}: {message}" for path, message in explain(caught.value, InjectorSettings)]
    assert any(said in line for line in lines), lines


def test_the_defaults_are_complete() -> None:
    assert InjectorSettings().image.startswith("remora/remora:")
    assert InjectorSettings().own_revision == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [("100m", "0.1"), ("0.5", "0.5"), (".5", "0.5"), ("1.", "1"), ("2k", "2000"), ("1Ki", "1024"), ("1e3", "1000"),
     ("1E", "1000000000000000000"), ("1E3", "1000"), ("1Gi", "1073741824")],
)  # fmt: skip
def test_a_quantity_is_as_much_as_kubernetes_takes_it_for(text: str, value: str) -> None:
    assert quantities.parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "m", "1 Gi", "-1", "+1", "1KB", "0x1", "1e", "١", "1" * 40, "1mi", "nan"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        quantities.parse(text)


def test_the_documentation_names_every_setting_and_every_annotation() -> None:
    text = Path(__file__).parents[3].joinpath("docs", "injection.md").read_text()
    settings = [field.alias for field in InjectorSettings.model_fields.values()]
    honoured = [*(each.annotation for each in traffic.FIELDS.values()), *annotations.RESOURCES]
    assert [name for name in (*settings, *honoured) if f"`{name}" not in text and f".{name}" not in text] == []
