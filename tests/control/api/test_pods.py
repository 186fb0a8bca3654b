"""What a pod's workload and a Service's addresses may be, and what follows from them."""

from typing import Any

import pytest
from pydantic import ValidationError

from control.api.kinds.service import ServiceSpec
from control.api.workload import Workload
from control.api.world import World
from control.translate.mesh import translate
from control.translate.proxies import proxy_of


def pod(**changes: Any) -> dict[str, Any]:
    return {
        "name": "reviews-1",
        "service": "reviews",
        "addresses": ["10.0.0.7", "fd00::7"],
        "capture": True,
        "ports": [{"name": "http", "service_port": 9080, "app": "10.0.0.7:9080"}],
        **changes,
    }


def test_a_pod_is_known_by_its_first_address() -> None:
    assert Workload.model_validate(pod()).node_id == ("sidecar~10.0.0.7~reviews-1.default~default.svc.cluster.local")


def test_addresses_are_kept_in_their_canonical_form() -> None:
    workload = Workload.model_validate(pod(addresses=["10.0.0.7", "FD00:0::7"]))
    assert workload.addresses == ("10.0.0.7", "fd00::7")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"addresses": [], "ports": []}, "no addresses", id="capture without addresses"),
        pytest.param({"addresses": ["10.0.0.7", "10.0.0.7"]}, "address twice", id="an address twice"),
        pytest.param({"addresses": ["pod.local"]}, "write an IP address", id="a name as address"),
        pytest.param({"addresses": ["10.0.0.8"]}, "not at one of 10.0.0.8", id="a port at another's address"),
        pytest.param({"inbound": "127.0.0.1:15006"}, "has capture; inbound", id="capture and an inbound address"),
        pytest.param({"outbound": "127.0.0.1:15001"}, "has capture; inbound", id="capture and an outbound address"),
        pytest.param(
            {"ports": [{"service_port": 80, "app": "10.0.0.7:9080"}]},
            "write service_port 9080",
            id="a captured port by the service's number",
        ),
        pytest.param(
            {"ports": [{"service_port": 9080, "app": "10.0.0.7:9080", "inbound": "127.0.0.1:7"}]},
            "both an inbound address and the pod's",
            id="a port with two addresses",
        ),
    ],
)
def test_a_pod_that_cannot_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Workload.model_validate(pod(**changes))


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        pytest.param({}, (), id="none yet"),
        pytest.param({"clusterIP": ""}, (), id="an empty one"),
        pytest.param({"clusterIP": "None"}, (), id="headless"),
        pytest.param({"clusterIP": "None", "clusterIPs": ["None"]}, (), id="headless in both fields"),
        pytest.param({"clusterIP": "10.96.0.1"}, ("10.96.0.1",), id="one"),
        pytest.param(
            {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "FD00::1"]},
            ("10.96.0.1", "fd00::1"),
            id="one of each family",
        ),
    ],
)
def test_a_service_has_these_addresses(given: dict[str, Any], addresses: tuple[str, ...]) -> None:
    spec = ServiceSpec.model_validate({"ports": [{"port": 80}], **given})
    assert spec.addresses == addresses


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"clusterIP": "none"}, id="a word"),
        pytest.param({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2"]}, id="two that differ"),
        pytest.param({"clusterIPs": ["None", "10.96.0.2"]}, id="none and an address"),
        pytest.param({"clusterIPs": ["10.96.0.2"] * 3}, id="three"),
    ],
)
def test_addresses_that_no_api_server_gives_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="clusterIP"):
        ServiceSpec.model_validate({"ports": [{"port": 80}], **given})


def test_a_captured_pod_is_an_endpoint_at_its_own_port_and_takes_mutual_tls() -> None:
    workload = Workload.model_validate(pod())
    (endpoint,) = (
        translate(World().with_workload(workload)).mesh.services["reviews.default.svc.cluster.local"].endpoints[9080]
    )
    assert str(endpoint.address) == "10.0.0.7:9080"
    assert endpoint.tls
    assert endpoint.principal == "spiffe://cluster.local/ns/default/sa/default"


def test_a_pod_without_a_sidecar_is_an_endpoint_in_plaintext() -> None:
    workload = Workload.model_validate(pod(capture=False))
    services = translate(World().with_workload(workload)).mesh.services
    (endpoint,) = services["reviews.default.svc.cluster.local"].endpoints[9080]
    assert (endpoint.tls, endpoint.principal) == (False, "")


def test_a_finished_pod_is_a_member_of_no_service() -> None:
    assert not World().with_workload(Workload.model_validate(pod(finished=True))).services


def test_a_pods_proxy_knows_that_it_captures() -> None:
    proxy = proxy_of(Workload.model_validate(pod()), "cluster.local")
    assert proxy.capture
    assert proxy.addresses == ("10.0.0.7", "fd00::7")
