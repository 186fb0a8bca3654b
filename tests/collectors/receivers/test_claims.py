import json
import logging
from typing import Any

import pytest

from collectors.receivers.claims import LOG_EVERY_S, Claims, Judge
from collectors.receivers.members import Members, MembersFile, parse_members
from collectors.telemetry import Telemetry
from mesh.spiffe import SpiffeId
from tests.collectors.build import FakeClock, access_body

PRODUCTPAGE = SpiffeId("cluster.local", "default", "bookinfo-productpage")
REVIEWS = SpiffeId("cluster.local", "default", "bookinfo-reviews")
SHOP = SpiffeId("cluster.local", "shop", "cart")
COLLECTOR = SpiffeId("cluster.local", "remora-system", "remora-collector")


def targets(*workloads: tuple[str, SpiffeId]) -> str:
    return json.dumps(
        [
            {
                "targets": ["127.0.0.1:15020"],
                "labels": {
                    "workload": name,
                    "namespace": principal.namespace,
                    "app": name.rpartition("-")[0],
                    "__meta_remora_principal": str(principal),
                    "__meta_remora_service": name.rpartition("-")[0],
                },
            }
            for name, principal in workloads
        ]
    )


MEMBERS = parse_members(targets(("productpage-v1", PRODUCTPAGE), ("reviews-v1", REVIEWS), ("cart-v1", SHOP)))


def body(workload: str, namespace: str = "default", **changes: Any) -> dict[str, Any]:
    changes.setdefault("id", f"sidecar~127.0.0.1~{workload}.{namespace}~{namespace}.svc.cluster.local/e1/1")
    return access_body(0, workload=workload, namespace=namespace, **changes)


@pytest.mark.parametrize(
    ("peer", "record", "why"),
    [
        pytest.param(PRODUCTPAGE, body("productpage-v1"), "", id="its own"),
        pytest.param(PRODUCTPAGE, body("productpage-v2"), "", id="an unknown one of its namespace"),
        pytest.param(REVIEWS, body("productpage-v1"), f"is {PRODUCTPAGE}", id="another's of its namespace"),
        pytest.param(SHOP, body("productpage-v1"), "namespace 'default'", id="another namespace's"),
        pytest.param(SHOP, body("nobody", "remora-system"), "namespace 'remora-system'", id="the mesh's own"),
        pytest.param(SHOP, body("productpage-v1", "shop"), "", id="a name that another namespace has too"),
        pytest.param(REVIEWS, body("reviews-v1", id=body("productpage-v1")["id"]), "its id is of", id="another's id"),
        pytest.param(REVIEWS, body("reviews-v1") | {"namespace": None}, "without", id="no namespace"),
        pytest.param(REVIEWS, body("reviews-v1") | {"workload": ["reviews-v1"]}, "without", id="a list of workloads"),
    ],
)
def test_an_access_record_is_taken_only_from_whom_it_names(peer: SpiffeId, record: dict[str, Any], why: str) -> None:
    found = Judge(peer, MEMBERS).access(record)
    assert why in found
    assert bool(found) == bool(why)


def pods(*of: tuple[str, str, SpiffeId]) -> str:
    """As a cluster's control plane lists them: instances of Deployments."""
    groups = json.loads(targets(*((pod, principal) for pod, _, principal in of)))
    for group, (_, owner, _) in zip(groups, of, strict=True):
        group["labels"]["__meta_remora_owner"] = owner
    return json.dumps(groups)


PODS = parse_members(
    pods(
        ("productpage-v1-7d-x", "productpage-v1", PRODUCTPAGE),
        ("reviews-v1-5f-y", "reviews-v1", REVIEWS),
        ("reviews-v1-5f-z", "reviews-v1", REVIEWS),
        ("cart-v1-66-w", "cart-v1", SHOP),
    )
)
LONG = "a-workload-whose-name-is-longer-than-a-pod-may-be-named-after-it"


def of_pod(pod: str, workload: str) -> dict[str, Any]:
    return body(workload, id=body(pod)["id"])


@pytest.mark.parametrize(
    ("record", "why"),
    [
        pytest.param(of_pod("reviews-v1-5f-y", "reviews-v1"), "", id="in its Deployment's name"),
        pytest.param(of_pod("reviews-v1-5f-new", "reviews-v1"), "", id="a pod that is not listed yet"),
        pytest.param(of_pod(f"{LONG}"[:58] + "abcde", LONG), "", id="a name that was cut off"),
        pytest.param(of_pod("reviews-v1-5f-y", "reviews-v2"), "its id is of", id="in another Deployment's name"),
        pytest.param(of_pod("ratings-v1-1-a", "reviews-v1"), "its id is of", id="a pod of another name"),
        pytest.param(of_pod("productpage-v1-7d-x", "productpage-v1"), f"is {PRODUCTPAGE}", id="another's Deployment"),
        pytest.param(of_pod("productpage-v1-7d-x", "reviews-v1"), "its id is of", id="another's pod"),
        pytest.param(of_pod("productpage-v1-7d-x", "productpage-v1-7d"), "its id is of", id="part of another's name"),
    ],
)
def test_a_pod_s_record_is_in_the_name_of_what_it_is_an_instance_of(record: dict[str, Any], why: str) -> None:
    found = Judge(REVIEWS, PODS).access(record)
    assert why in found
    assert bool(found) == bool(why)


def test_a_pod_s_spans_are_in_its_deployment_s_name_and_in_no_other_s() -> None:
    for name, taken in (("reviews-v1", True), ("productpage-v1", False), ("productpage-v1-7d-x", False)):
        assert bool(Judge(REVIEWS, PODS).resource({"service.name": "x"}, name)) != taken


@pytest.mark.parametrize(
    ("peer", "record", "refused"),
    [
        pytest.param(REVIEWS, {"message": "hello"}, False, id="no claim"),
        pytest.param(REVIEWS, {"message": "hello", "workload": "reviews-v1"}, False, id="its own workload"),
        pytest.param(REVIEWS, {"message": "hello", "workload": "cart-v1"}, True, id="another's workload"),
        pytest.param(REVIEWS, {"message": "hello", "namespace": "shop"}, True, id="another namespace of the mesh"),
        pytest.param(REVIEWS, {"message": "x", "namespace": "remora-system"}, True, id="the mesh's own namespace"),
        pytest.param(COLLECTOR, {"message": "x", "namespace": "remora-system"}, False, id="the mesh's own component"),
        pytest.param(REVIEWS, {"message": "x", "namespace": "App.Cache"}, False, id="a namespace of another kind"),
        pytest.param(REVIEWS, {"message": "x", "namespace": [1], "workload": {}}, False, id="values of other types"),
        pytest.param(REVIEWS, {"message": "x", "k8s.namespace.name": "elsewhere"}, True, id="another k8s namespace"),
    ],
)
def test_a_log_record_may_not_pass_as_another_workload_s(peer: SpiffeId, record: dict[str, Any], refused: bool) -> None:
    assert bool(Judge(peer, MEMBERS).log(record)) == refused


@pytest.mark.parametrize(
    ("peer", "attributes", "refused"),
    [
        pytest.param(REVIEWS, {"service.name": "reviews", "service.namespace": "default"}, False, id="its own"),
        pytest.param(REVIEWS, {"service.name": "reviews.default"}, False, id="its own with namespace"),
        pytest.param(REVIEWS, {"service.name": "reviews.default.svc.cluster.local"}, False, id="its own in full"),
        pytest.param(REVIEWS, {"service.name": "productpage"}, True, id="another's service"),
        pytest.param(REVIEWS, {"service.name": "productpage.default"}, True, id="another's service with namespace"),
        pytest.param(REVIEWS, {"service.name": "reviews.shop"}, True, id="a service of another namespace"),
        pytest.param(REVIEWS, {"service.name": "control.remora-system"}, True, id="a service of the mesh's namespace"),
        pytest.param(REVIEWS, {"service.name": "batch.example.com"}, False, id="a name with dots"),
        pytest.param(REVIEWS, {"service.name": "x", "service.namespace": "Web Shop"}, False, id="a logical group"),
        pytest.param(
            REVIEWS, {"service.name": "x", "service.namespace": "shop"}, True, id="a group that reads as shop"
        ),
        pytest.param(REVIEWS, {"service.name": "x", "k8s.namespace.name": "shop"}, True, id="another k8s namespace"),
        pytest.param(REVIEWS, {"service.name": "x", "k8s.namespace.name": ["default"]}, True, id="a list of them"),
        pytest.param(REVIEWS, {"service.name": "x", "remora.workload": "cart-v1"}, True, id="another's workload"),
        pytest.param(REVIEWS, {}, False, id="nothing said"),
    ],
)
def test_a_resource_is_taken_only_from_whom_it_names(peer: SpiffeId, attributes: dict[str, Any], refused: bool) -> None:
    judge = Judge(peer, MEMBERS)
    assert bool(judge.resource(attributes, str(attributes.get("remora.workload", "none")))) == refused


def test_refusals_are_counted_each_and_logged_once_a_minute_for_each_peer(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, clock = Telemetry(), FakeClock(0.0)
    claims = Claims(Members, telemetry, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            claims.refused("forward", "logs", REVIEWS, 5, "why it was")
        claims.refused("forward", "logs", SHOP, 1, "another reason")
        assert [record.getMessage() for record in caplog.records] == [
            f"refused 5 records of {REVIEWS}: why it was",
            f"refused 1 records of {SHOP}: another reason",
        ]
        clock.time += LOG_EVERY_S
        claims.refused("forward", "logs", REVIEWS, 5, "why it was")
    assert caplog.records[-1].getMessage() == f"refused 500 records of {REVIEWS}: why it was"
    labels = {"receiver": "forward", "signal": "logs"}
    assert telemetry.registry.get_sample_value("remora_collector_foreign_records_total", labels) == 506


def test_the_members_are_read_again_when_the_file_changes_and_kept_when_it_breaks(tmp_path: Any) -> None:
    path = tmp_path / "targets.json"
    file = MembersFile(path)
    assert file.present() == Members()
    path.write_text(targets(("reviews-v1", REVIEWS)))
    assert file.present().principals == {("default", "reviews-v1"): str(REVIEWS)}
    path.write_text("[{")
    assert file.present().principals == {("default", "reviews-v1"): str(REVIEWS)}
    path.write_text(targets(("reviews-v1", PRODUCTPAGE), ("cart-v1", SHOP)))
    assert file.present().principals["default", "reviews-v1"] == str(PRODUCTPAGE)
    assert file.present() is file.present()


@pytest.mark.parametrize("text", ["[1]", '[{"labels": 5}]', '[{"labels": {"workload": "x"}}]', "[]"])
def test_groups_of_somebody_else_s_make_nobody_a_member(text: str) -> None:
    assert parse_members(text) == Members()


@pytest.mark.parametrize("text", ["{}", "", "5"])
def test_what_is_no_list_of_groups_is_no_file_of_targets(text: str) -> None:
    with pytest.raises(ValueError):
        parse_members(text)
