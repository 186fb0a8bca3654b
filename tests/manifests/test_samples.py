"""Bookinfo for a cluster: taken by Kubernetes' schemas, injected as it stands, with rules that the mesh takes."""

from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from control.api import SourceFile, parse
from control.injector.inject import inject
from control.injector.outcome import Injected
from control.injector.settings import InjectorSettings, NamespaceFacts
from tests.manifests.admission import refusal
from tests.manifests.programs import KUBERNETES_VERSION, MANIFESTS

SAMPLES = MANIFESTS / "samples"


def documents(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe", pure=True).load_all((SAMPLES / name).read_text()))


@pytest.mark.parametrize(
    "document", documents("bookinfo.yaml"), ids=lambda each: f"{each['kind']} {each['metadata']['name']}"
)
def test_kubernetes_own_schemas_take_it(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_every_application_gets_a_sidecar() -> None:
    found = documents("bookinfo.yaml")
    (namespace,) = [each for each in found if each["kind"] == "Namespace"]
    facts = NamespaceFacts(namespace["metadata"]["name"], namespace["metadata"]["labels"])
    deployments = [each for each in found if each["kind"] == "Deployment"]
    assert len(deployments) == 6
    for deployment in deployments:
        pod = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
        outcome = inject(pod, facts, InjectorSettings())
        assert isinstance(outcome, Injected), outcome
        assert outcome.patch
        assert not outcome.warnings


def test_its_services_have_applications_and_accounts() -> None:
    found = documents("bookinfo.yaml")
    accounts = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    templates = [each["spec"]["template"] for each in found if each["kind"] == "Deployment"]
    assert {each["spec"]["serviceAccountName"] for each in templates} == accounts
    for service in (each for each in found if each["kind"] == "Service"):
        assert any(service["spec"]["selector"].items() <= each["metadata"]["labels"].items() for each in templates)


def test_its_rules_are_taken() -> None:
    text = (SAMPLES / "bookinfo-rules.yaml").read_text()
    parsed = parse([SourceFile("bookinfo-rules.yaml", text)])
    assert parsed.ok, parsed.violations
    for document in documents("bookinfo-rules.yaml"):
        assert refusal(document) == ""
    assert {each.namespace for each in parsed.resources} == {"bookinfo"}
