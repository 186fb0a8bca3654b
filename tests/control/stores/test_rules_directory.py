"""A rule as its own file will say it: worked out from the file that it came in, the same as if it were read again."""

from dataclasses import replace

import pytest

from control.api.parse import parse
from control.api.resource import Resource
from control.api.source import SourceFile
from control.stores.rules_directory import as_stored

ONE = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n"
TWO = (
    "# why\n\n# how\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: b\n"
    "spec:\n  host: b\n  subsets:\n  - name: v1\n    labels: {version: v1}\n"
)
LIST = (
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: networking.istio.io/v1\n  kind: DestinationRule\n"
    "  metadata: {name: a}\n  spec: {host: a}\n"
)


def everything(resource: Resource) -> tuple[object, ...]:
    """What equality of resources leaves out, too."""
    return resource, resource.text, resource.file, resource.line, dict(resource.lines)


@pytest.mark.parametrize(
    ("text", "without_reading"),
    [
        pytest.param(ONE, True, id="one document"),
        pytest.param(f"---\n{ONE}---\n{TWO}", True, id="two, markers first"),
        pytest.param(f"\n\n{ONE}\n\n---\n\n\n{TWO}\n# the end\n", True, id="blank lines and comments around"),
        pytest.param(f"\ufeff{ONE}---\n{TWO}", True, id="a byte order mark"),
        pytest.param(f"{ONE}---\n{TWO}".replace("\n", "\r\n"), True, id="lines as Windows ends them"),
        pytest.param(f"# first\n---\n{ONE}", False, id="a comment above the marker"),
        pytest.param(f"%YAML 1.1\n---\n{ONE}", False, id="a directive above the marker"),
        pytest.param(f"--- {{apiVersion: networking.istio.io/v1, kind: DestinationRule, "
                     f"metadata: {{name: a}}, spec: {{host: a}}}}\n---\n{TWO}", False, id="on the marker's line"),
        pytest.param(ONE + "# a line separator \u2028\n---\n" + TWO, False, id="other line breaks"),
        pytest.param(LIST, False, id="items of a List"),
    ],
)  # fmt: skip
def test_a_stored_rule_is_what_its_own_file_says(text: str, without_reading: bool) -> None:
    parsed = parse([SourceFile("given.yaml", text)])
    assert parsed.ok, parsed.violations
    for resource in parsed.resources:
        stored = as_stored(resource)
        name = f"rules/DestinationRule/default/{resource.name}.yaml"
        [read] = parse([SourceFile(name, stored.text)]).resources
        assert everything(stored) == everything(read)
    assert bool(parsed.resources[0].text_line) == without_reading


def test_a_rule_keeps_its_age_when_it_is_stored() -> None:
    [resource] = parse([SourceFile("given.yaml", ONE)]).resources
    assert as_stored(replace(resource, created_at=5.0)).created_at == 5.0
