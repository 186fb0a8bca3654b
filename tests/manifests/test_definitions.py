"""The definitions of our kinds: what Kubernetes asks of a schema, and that they say the same as the parser."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from control.api import SourceFile, parse
from control.api.kinds import KINDS
from remora.install.crds.definitions import all_definitions, kinds
from remora.install.crds.editors import schemas
from tests.control.api.test_bad_input import RULES
from tests.integration import rules as integration_rules
from tests.manifests.admission import refusal

ROOT = Path(__file__).parents[2]
DEFINITIONS = {each["spec"]["names"]["kind"]: each for each in all_definitions()}

BEYOND_A_SCHEMA = {
    "a host twice": "the hosts differ in case, and a set compares them as they are written",
    "a broken regex": "Kubernetes has no format of regexes, and CEL's price for trying one in every match is too high",
    "look-around": "the same",
    "a header twice": "keys that differ in case; each with each is too much for CEL's price",
    "a rewrite to a group that is not there": "needs the regex's groups to be counted",
    "tls for another's name": "needs wildcards of the hosts to be compared",
    "routes for too many hosts": "a sum over all routes, whose conditions would be counted for each rule's price",
    "too many tests": "the same",
    "the same body for too many hosts": "CEL has no size of a whole object",
}
"""Refused by the parser, in the webhook and in a rule's status, and not by the schema."""

CASES = [case for case in RULES if "kind: Service\n" not in case[1]]


def objects(text: str) -> list[Any]:
    return [each for each in YAML(typ="safe", pure=True).load_all(text) if each is not None]


def as_json(value: Any) -> Any:
    """As kubectl sends it: every key is text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "text"), [case[:2] for case in CASES], ids=[case[0] for case in CASES])
def test_the_schema_refuses_what_the_parser_refuses(name: str, text: str) -> None:
    (found,) = objects(text)
    said = refusal(as_json(found))
    if name in BEYOND_A_SCHEMA:
        assert said == "", "the schema can say it now: take it off the list"
    else:
        assert said != ""


def test_the_list_of_what_a_schema_cannot_say_names_cases() -> None:
    assert set(BEYOND_A_SCHEMA) <= {case[0] for case in CASES}


def good_rules() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "remora" / "samples" / "bookinfo" / "rules").glob("*.yaml")):
        yield path.name, path.read_text()
    for path in sorted((ROOT / "tests" / "control" / "generate" / "cases").glob("*.yaml")):
        yield path.name, path.read_text().partition("--- # expected")[0]
    yield "all to v1", integration_rules.all_to("reviews", "v1")
    yield "a split", integration_rules.split(50, 50)
    yield "a split with one for jason", integration_rules.split_with_jason(50, 50)


TUTORIALS = {
    "a delay in the older spelling": """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
  - match: [{headers: {end-user: {exact: somebody}}}]
    fault: {delay: {percent: 100, fixedDelay: 7s}}
    route: [{destination: {host: ratings, subset: v1}}]
  - route: [{destination: {host: ratings, subset: v1}}]
""",
    "a service outside, its protocol in lower case": """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [www.example.com]
  ports: [{number: 443, name: https, protocol: https}]
  location: MESH_EXTERNAL
  resolution: DNS
""",
    "mutual TLS to every version": """
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2-mysql-vm, labels: {version: v2-mysql-vm}}]
""",
    "a way in for some paths": """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{uri: {exact: /productpage}}, {uri: {prefix: /.well-known/acme-challenge/}}]
    route: [{destination: {host: productpage, port: {number: 9080}}}]
""",
    "strict mutual TLS for a namespace": """
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
""",
}
"""What Istio's own documentation has people apply, in our words: versions and spellings of all ages."""


@pytest.mark.parametrize("text", TUTORIALS.values(), ids=TUTORIALS)
def test_rules_of_istio_s_tutorials_are_taken_by_both(text: str) -> None:
    assert parse([SourceFile("a.yaml", text)]).ok
    for found in objects(text):
        assert refusal(as_json(found)) == ""


@pytest.mark.parametrize(("text"), [text for _, text in good_rules()], ids=[name for name, _ in good_rules()])
def test_the_schema_takes_what_the_parser_takes(text: str) -> None:
    for found in objects(text):
        if found["kind"] != "Service":
            assert refusal(as_json(found)) == ""


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), Mapping):
            yield from nodes(schema[word], path + mark)


def every_node() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind, definition in DEFINITIONS.items():
        for version in definition["spec"]["versions"]:
            yield from nodes(version["schema"]["openAPIV3Schema"], f"{kind}/{version['name']}")


def test_schemas_are_structural() -> None:
    types = {"object", "array", "string", "integer", "number", "boolean"}
    for path, schema in every_node():
        assert schema.get("type") in types, path
        assert not set(schema) & {"$ref", "definitions", "patternProperties", "const", "default", "title", "anyOf"}, (
            path
        )
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert ("items" in schema) == (schema["type"] == "array"), path
        assert "pattern" not in schema or schema["type"] == "string", path
        if schema.get("x-kubernetes-list-type") == "map":
            item = schema["items"]
            assert set(schema["x-kubernetes-list-map-keys"]) <= set(item["required"]), path


def test_only_what_is_open_in_the_model_or_refused_by_name_takes_unknown_fields() -> None:
    open_ = {
        path.partition(".")[2]
        for path, schema in every_node()
        if schema.get("x-kubernetes-preserve-unknown-fields") and not path.endswith("[]")
        if schema.get("description") != "Not supported by Remora yet."
    }
    assert open_ == {"spec.config"}


def test_every_field_that_is_not_supported_is_refused_by_name() -> None:
    count = 0
    for path, schema in every_node():
        for name, each in schema.get("properties", {}).items():
            if each.get("description") == "Not supported by Remora yet.":
                rules = [rule["rule"] for rule in schema["x-kubernetes-validations"]]
                assert f"!has(self.{name})" in rules, f"{path}.{name}"
                count += 1
    assert count > 40


def test_every_field_says_what_it_is() -> None:
    bare = [
        f"{path}.{name}"
        for path, schema in every_node()
        for name, each in schema.get("properties", {}).items()
        if not each.get("description") and (path.count("/") != 1 or "." in path or name != "metadata")
    ]
    assert bare == []


def test_lists_and_mappings_that_rules_go_through_have_an_end() -> None:
    """What CEL costs is counted for the largest object that the schema takes."""
    for path, schema in every_node():
        if "x-kubernetes-validations" in schema and "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        for name, each in schema.get("properties", {}).items():
            said = " ".join(rule["rule"] for rule in schema.get("x-kubernetes-validations", ()))
            if each["type"] == "array" and any(f"self.{name}.{word}" in said for word in ("all(", "exists", "map(")):
                assert "maxItems" in each, f"{path}.{name}"


def test_kinds_have_istio_s_names_and_columns() -> None:
    shown = {
        kind: [column["name"] for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]]
        for kind, definition in DEFINITIONS.items()
    }
    assert shown["VirtualService"] == ["Gateways", "Hosts", "Accepted", "Age"]
    assert shown["DestinationRule"] == ["Host", "Accepted", "Age"]
    assert shown["ServiceEntry"] == ["Hosts", "Location", "Resolution", "Accepted", "Age"]
    assert shown["PeerAuthentication"] == ["Mode", "Accepted", "Age"]
    short = {kind: definition["spec"]["names"]["shortNames"] for kind, definition in DEFINITIONS.items()}
    assert short["VirtualService"] == ["vs"]
    assert short["DestinationRule"] == ["dr"]


def test_there_is_a_definition_of_every_kind_and_version_that_the_parser_takes() -> None:
    served = {
        (f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"])
        for each in DEFINITIONS.values()
        for version in each["spec"]["versions"]
    }
    assert served == {
        (version, kind.name) for kind in KINDS.values() for version in kind.api_versions if "/" in version
    }
    for definition in DEFINITIONS.values():
        assert [version["storage"] for version in definition["spec"]["versions"]].count(True) == 1
        assert len(str(definition)) < 262_144, "kubectl apply keeps the object in an annotation of at most 256 KiB"


def test_editors_get_schemas_that_say_the_same_without_cel() -> None:
    made = schemas()
    for kind in kinds():
        schema = made[f"{kind.name.lower()}.json"]
        jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(made["virtualservice.json"])
    (good,) = objects(integration_rules.all_to("reviews", "v1"))
    assert list(validator.iter_errors(good)) == []
    good["spec"]["http"][0]["rote"] = []
    assert "rote" in str([error.message for error in validator.iter_errors(good)])


def test_the_parser_has_the_bounds_of_the_schema() -> None:
    hosts = ", ".join(f"h{number}" for number in range(257))
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
    text = f"{head}spec:\n  hosts: [{hosts}]\n  http: [{{redirect: {{uri: /}}}}]\n"
    (violation,) = parse([SourceFile("a.yaml", text)]).violations
    assert violation.message == "has 257 entries; at most 256 are allowed"
    assert refusal(objects(text)[0]) != ""
