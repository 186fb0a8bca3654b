"""An installation, as an API server sees it: kinds that it serves, rules that it refuses, and whom it lets in."""

import re
from typing import Any

import pytest

from control.kubernetes.errors import ApiError
from control.kubernetes.resources import CONFIG_MAPS
from tests.e2e.cluster import SYSTEM, Cluster, until
from tests.e2e.control import LeastPrivileged

Json = dict[str, Any]


def virtual_service(name: str, namespace: str, spec: Json) -> Json:
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def to(host: str, **more: Any) -> Json:
    return {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}], **more}]}


def refused(cluster: Cluster, document: Json) -> str:
    with pytest.raises(ApiError) as caught:
        cluster.apply(document)
    assert cluster.find(document["kind"], document["metadata"]["name"], document["metadata"]["namespace"]) is None
    return caught.value.message


def test_the_control_plane_has_every_permission_that_it_needs(control: LeastPrivileged) -> None:
    assert control.get("/readyz").json() == {"ready": True, "waiting_for": []}
    assert "forbidden" not in control.said()
    assert control.metric("remora_control_leading") == 1


def test_every_kind_of_ours_is_served(cluster: Cluster, control: LeastPrivileged) -> None:
    for kind in ("VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "PeerAuthentication"):
        assert cluster.find(kind, "none", "default") is None


def test_a_rule_of_the_wrong_shape_is_refused_by_the_schema(cluster: Cluster, control: LeastPrivileged) -> None:
    said = refused(cluster, virtual_service("shape", "default", to("reviews") | {"hosts": "reviews"}))
    assert "spec.hosts" in said
    assert "webhook" not in said


def test_what_no_schema_can_see_is_refused_by_the_webhook_with_the_fields_path(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    spec = to("reviews", match=[{"uri": {"regex": "("}}])
    said = refused(cluster, virtual_service("regex", "default", spec))
    assert re.search(r'admission webhook "[a-z.]*validator\.remora\.io" denied the request: ', said)
    assert "spec.http[0].match[0].uri.regex" in said


def test_a_rule_in_conflict_with_a_stored_one_is_refused_and_names_it(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    namespace = cluster.namespace("e2e-conflict")
    cluster.apply(virtual_service("first", namespace, to("reviews")))
    until(lambda: control.get(f"/v1/resources/VirtualService/{namespace}/first").status_code == 200, "first is known")
    said = refused(cluster, virtual_service("second", namespace, to("reviews")))
    assert "has another rule" in said
    assert "first" in said


def test_rules_may_come_before_what_they_name(cluster: Cluster, control: LeastPrivileged) -> None:
    namespace = cluster.namespace("e2e-order")
    spec = {"hosts": ["later"], "http": [{"route": [{"destination": {"host": "later", "subset": "v1"}}]}]}
    assert cluster.apply(virtual_service("early", namespace, spec))["metadata"]["name"] == "early"


def test_a_bad_rule_that_is_stored_can_be_labelled_mended_and_deleted(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    namespace = cluster.namespace("e2e-stored")
    bad = to("reviews", match=[{"uri": {"regex": "("}}])
    configuration = cluster.get("ValidatingWebhookConfiguration", "remora-validator")
    cluster.delete("ValidatingWebhookConfiguration", "remora-validator")
    # The API server takes a moment to forget it.
    until(lambda: _applied(cluster, virtual_service("old", namespace, bad)), "it is stored while nobody checks")
    metadata = {"name": configuration["metadata"]["name"], "labels": configuration["metadata"].get("labels", {})}
    cluster.apply(configuration | {"metadata": metadata})
    until(lambda: not _applied(cluster, virtual_service("other", namespace, bad)), "the webhook is asked again")
    labelled = virtual_service("old", namespace, bad)
    labelled["metadata"]["labels"] = {"team": "a"}
    assert cluster.apply(labelled)["metadata"]["labels"]["team"] == "a"
    assert cluster.apply(virtual_service("old", namespace, to("reviews")))["spec"] == to("reviews")
    cluster.delete("VirtualService", "old", namespace)


def _applied(cluster: Cluster, document: Json) -> bool:
    try:
        cluster.apply(document)
    except ApiError:
        return False
    if document["metadata"]["name"] == "other":
        cluster.delete(document["kind"], "other", document["metadata"]["namespace"])
    return True


def test_a_bad_rule_that_is_stored_has_its_violation_as_a_condition(cluster: Cluster, control: LeastPrivileged) -> None:
    namespace = cluster.namespace("e2e-status")
    spec = {"hosts": ["nobody"], "http": [{"route": [{"destination": {"host": "nobody"}}]}]}
    cluster.apply(virtual_service("lost", namespace, spec))

    def said() -> str:
        conditions = cluster.get("VirtualService", "lost", namespace).get("status", {}).get("conditions", [])
        return " ".join(f"{each['status']} {each.get('message', '')}" for each in conditions)

    until(lambda: "spec.http[0].route[0].destination.host" in said(), f"its status says so: {said()}", within=15)


def test_the_root_is_in_every_namespace_and_comes_back(cluster: Cluster, control: LeastPrivileged) -> None:
    namespace = cluster.namespace("e2e-root")
    until(lambda: cluster.find("ConfigMap", "remora-ca-root-cert", namespace), "a new namespace has the root")
    found = cluster.get("ConfigMap", "remora-ca-root-cert", namespace)["data"]["root.pem"]
    assert found.encode() == control.root_pem()
    assert "PRIVATE" not in found
    assert cluster.find("ConfigMap", "remora-ca-root-cert", "kube-system") is None


def test_the_authoritys_key_is_in_its_secret_alone(cluster: Cluster, control: LeastPrivileged) -> None:
    written = [path for path in control.state.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"PRIVATE" in path.read_bytes()]
    everywhere = cluster.run(cluster.client.list(CONFIG_MAPS))["items"]
    assert not [each for each in everywhere if "PRIVATE" in str(each.get("data"))]
    assert set(cluster.get("Secret", "remora-ca", SYSTEM)["data"]) == {"root.key", "root.pem"}
