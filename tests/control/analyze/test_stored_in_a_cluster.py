"""Findings in rules that are in no file: they are at the rule and its fields."""

from control.analyze.analyze import analyze_stored
from control.api.parse import parse_document
from control.api.resource import Resource
from control.api.world import World

ROUTE = [{"destination": {"host": "reviews"}}]


def stored(name: str, spec: object) -> Resource:
    metadata = {"name": name, "namespace": "shop"}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}
    (resource,) = parse_document(document).resources
    return resource


def test_a_finding_names_rule_and_fields_and_neither_file_nor_line() -> None:
    spec = {"hosts": ["reviews"], "http": [{"route": ROUTE}, {"route": ROUTE}]}
    texts = [str(each) for each in analyze_stored(World().with_resources([stored("first", spec)]))]
    assert (
        "VirtualService shop/first: spec.http[1]: warning: is never reached: the route before it, spec.http[0], takes "
        "every request; move it up"
    ) in texts


def test_a_conflict_names_the_other_rule() -> None:
    spec = {"hosts": ["reviews"], "http": [{"route": ROUTE}]}
    world = World().with_resources([stored("first", spec), stored("second", spec)])
    found = [each for each in analyze_stored(world) if "has another rule" in each.message]
    assert {(each.file, each.line, each.name) for each in found} == {("", 0, "first"), ("", 0, "second")}
    assert any("VirtualService shop/first" in each.message for each in found)
    assert all("(" not in each.message for each in found), "no place in a file"


def test_what_cannot_be_read_is_at_the_rule() -> None:
    metadata = {"name": "bad", "namespace": "shop"}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": {}}
    assert [str(each) for each in parse_document(document).violations] == [
        "VirtualService shop/bad: spec.hosts: is required; add it"
    ]
