"""Services, slices, pods and nodes to the mesh's services and workloads; and only what a change touches changes."""

from collections.abc import Callable
from typing import Any

import pytest

from control.api.locality import Locality
from control.api.services import Address, Service
from control.api.workload import Workload
from control.stores.kubernetes.pods import decode_node, decode_pod
from control.stores.kubernetes.registry import Changes, Registry
from control.stores.kubernetes.services import decode_service, decode_slice
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, pod, service

DECODE: dict[str, Callable[[Object], Any]] = {
    "Pod": decode_pod,
    "Node": decode_node,
    "Service": decode_service,
    "EndpointSlice": decode_slice,
}


class Cluster:
    """A registry and what it has said so far."""

    def __init__(self, *objects: Object) -> None:
        self.registry = Registry()
        self.services: dict[tuple[str, str], Service] = {}
        self.workloads: dict[tuple[str, str], Workload] = {}
        self._slices: dict[tuple[str, str], Any] = {}
        self.put(*objects)

    def put(self, *objects: Object) -> Changes:
        for each in objects:
            self._tell(each, DECODE[each["kind"]](each))
        return self.take()

    def remove(self, *objects: Object) -> Changes:
        for each in objects:
            self._tell(each, None)
        return self.take()

    def _tell(self, found: Object, after: Any) -> None:
        name = found["metadata"]["name"]
        key = (found["metadata"].get("namespace", ""), name)
        match found["kind"]:
            case "Pod":
                self.registry.pod(key, after)
            case "Node":
                self.registry.node(name, after)
            case "Service":
                self.registry.service(key, after)
            case "EndpointSlice":
                self.registry.slice(*key, self._slices.get(key), after)
                self._slices[key] = after

    def take(self) -> Changes:
        changes = self.registry.take()
        for kept, changed in ((self.services, changes.services), (self.workloads, changes.workloads)):
            for key, value in changed.items():
                if value is None:
                    del kept[key]  # type: ignore[attr-defined]
                else:
                    kept[key] = value  # type: ignore[index]
        return changes

    def behind(self, name: str, port: int = 80) -> list[str]:
        """Addresses of the pods behind a port."""
        found = next(each for each in self.services["default", name].ports if each.number == port)
        return [app.app for _, app in found.members]

    def others(self, name: str, port: int = 80) -> tuple[Address, ...]:
        return next(each for each in self.services["default", name].ports if each.number == port).others


def web(*pods: str) -> list[Object]:
    """A service, its slice, and pods at 10.0.0.1 and on."""
    endpoints = [endpoint(f"10.0.0.{index}", name) for index, name in enumerate(pods, 1)]
    made = [pod(name, f"10.0.0.{index}", labels={"app": "web"}) for index, name in enumerate(pods, 1)]
    return [service("web", selector={"app": "web"}), endpoint_slice("web-1", "web", *endpoints), *made]


def test_a_service_has_the_pods_of_its_slices_at_their_own_ports() -> None:
    cluster = Cluster(*web("a", "b"))
    found = cluster.services["default", "web"]
    assert found.addresses == ("10.96.0.10",)
    assert cluster.behind("web") == ["10.0.0.1:8080", "10.0.0.2:8080"]
    assert [each.name for each in found.members] == ["a", "b"]
    workload = cluster.workloads["default", "a"]
    assert workload.capture
    assert [(each.service_port, each.app) for each in workload.ports] == [(8080, "10.0.0.1:8080")]
    assert workload.node_id == "sidecar~10.0.0.1~a.default~default.svc.cluster.local"


def test_one_pods_change_replaces_its_services_alone() -> None:
    more = [service("api"), endpoint_slice("api-1", "api", endpoint("10.0.1.1", "c")), pod("c", "10.0.1.1")]
    cluster = Cluster(*web("a", "b"), *more)
    before, neighbour = dict(cluster.services), cluster.workloads["default", "b"]
    changes = cluster.put(pod("a", "10.0.0.1", labels={"app": "web", "version": "v2"}))
    assert list(changes.services) == [("default", "web")]
    assert list(changes.workloads) == [("default", "a")]
    assert cluster.services["default", "api"] is before["default", "api"]
    assert cluster.services["default", "web"].members[1] is neighbour


@pytest.mark.parametrize(
    "change",
    [
        {"ready": False},
        {"phase": "Pending"},
        {"ports": {"debug": 5005}},
    ],
    ids=["readiness, which its slice tells", "its phase", "ports that no service names"],
)
def test_what_does_not_concern_the_mesh_changes_nothing(change: Object) -> None:
    cluster = Cluster(*web("a"))
    assert not cluster.put(pod("a", "10.0.0.1", labels={"app": "web"}, **change))


def test_an_endpoint_added_to_a_slice_changes_no_other_workload() -> None:
    cluster = Cluster(*web("a"), pod("b", "10.0.0.2", labels={"app": "web"}))
    before = cluster.workloads["default", "a"]
    changes = cluster.put(endpoint_slice("web-1", "web", endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b")))
    assert list(changes.workloads) == [("default", "b")], "it has a port now"
    assert cluster.services["default", "web"].members[0] is before


def test_an_endpoint_in_two_slices_is_one() -> None:
    cluster = Cluster(*web("a"))
    cluster.put(endpoint_slice("web-2", "web", endpoint("10.0.0.1", "a")))
    assert cluster.behind("web") == ["10.0.0.1:8080"]
    cluster.remove(endpoint_slice("web-1", "web"))
    assert cluster.behind("web") == ["10.0.0.1:8080"], "the other slice still has it"
    cluster.remove(endpoint_slice("web-2", "web"))
    assert cluster.behind("web") == []


CONDITIONS = {
    "ready": {"ready": True},
    "nothing said": {},
    "ready by publishNotReadyAddresses while it terminates": {"ready": True, "serving": False, "terminating": True},
    "not ready": {"ready": False, "serving": False, "terminating": False},
    "terminating and serving": {"ready": False, "serving": True, "terminating": True},
    "terminating and not serving": {"ready": False, "serving": False, "terminating": True},
    "serving, but for no stated reason not ready": {"ready": False, "serving": True, "terminating": False},
}
ALONE = [*list(CONDITIONS)[:3], "terminating and serving"]
BESIDE_A_READY_ONE = list(CONDITIONS)[:3]


@pytest.mark.parametrize("said", CONDITIONS)
def test_who_gets_traffic_follows_the_conditions(said: str) -> None:
    cluster = Cluster(*web("a", "b"))
    questioned = endpoint("10.0.0.1", "a", conditions=CONDITIONS[said])
    cluster.put(endpoint_slice("web-1", "web", questioned))
    assert cluster.behind("web") == (["10.0.0.1:8080"] if said in ALONE else [])
    cluster.put(endpoint_slice("web-1", "web", questioned, endpoint("10.0.0.2", "b")))
    assert ("10.0.0.1:8080" in cluster.behind("web")) == (said in BESIDE_A_READY_ONE)


def test_a_named_target_port_is_each_pods_own() -> None:
    named = service("web", {"name": "http", "port": 80, "targetPort": "web"})
    old = endpoint_slice("web-1", "web", endpoint("10.0.0.1", "a"), ports={"http": 8080})
    new = endpoint_slice("web-2", "web", endpoint("10.0.0.2", "b"), ports={"http": 9090})
    cluster = Cluster(named, old, new, pod("a", "10.0.0.1"), pod("b", "10.0.0.2"))
    assert cluster.behind("web") == ["10.0.0.1:8080", "10.0.0.2:9090"]


def test_several_ports_have_their_own_protocols_and_udp_is_left_out() -> None:
    several = service(
        "web",
        {"name": "http", "port": 80},
        {"name": "rpc", "port": 90, "appProtocol": "grpc"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53},
    )
    ports = {"http": 8080, "rpc": 9090, "dns-tcp": 53}
    cluster = Cluster(
        several, endpoint_slice("web-1", "web", endpoint("10.0.0.1", "a"), ports=ports), pod("a", "10.0.0.1")
    )
    found = cluster.services["default", "web"].ports
    assert [(each.number, each.protocol) for each in found] == [(80, "HTTP"), (90, "GRPC"), (53, "TCP")]
    assert cluster.behind("web", 90) == ["10.0.0.1:9090"]
    only_udp = service("udp", {"name": "dns", "port": 53, "protocol": "UDP"})
    assert not cluster.put(only_udp)


def test_a_headless_service_has_no_address_of_its_own() -> None:
    _, *rest = web("a")
    cluster = Cluster(service("web", addresses=()), *rest)
    assert cluster.services["default", "web"].addresses == ()
    assert cluster.behind("web") == ["10.0.0.1:8080"]


def test_an_external_name_is_looked_up_by_proxies() -> None:
    cluster = Cluster(service("db", {"port": 5432}, addresses=(), type="ExternalName", externalName="db.example.com."))
    found = cluster.services["default", "db"]
    assert (found.external_name, found.addresses) == ("db.example.com", ())


def test_a_dual_stack_service_has_each_pod_once_at_its_main_family() -> None:
    both = service("web", addresses=("10.96.0.10", "fd00::10"), ipFamilies=["IPv4", "IPv6"])
    four = endpoint_slice("web-4", "web", endpoint("10.0.0.1", "a"))
    six = endpoint_slice("web-6", "web", endpoint("fd00::1", "a"), endpoint("fd00::2", "b"), family="IPv6")
    cluster = Cluster(both, four, six, pod("a", "10.0.0.1", "fd00::1"), pod("b", "fd00::2"))
    assert cluster.services["default", "web"].addresses == ("10.96.0.10", "fd00::10")
    assert cluster.behind("web") == ["10.0.0.1:8080", "[fd00::2]:8080"]
    assert cluster.workloads["default", "a"].addresses == ("10.0.0.1", "fd00::1")


def test_slices_made_by_hand_are_addresses_without_workloads() -> None:
    by_hand = endpoint_slice("db-1", "db", endpoint("192.0.2.7", zone="z1"), ports={"": 5432})
    cluster = Cluster(service("db", {"port": 5432}), by_hand)
    assert cluster.others("db", 5432) == (Address("192.0.2.7", 5432, Locality(zone="z1")),)


def test_an_endpoint_waits_for_its_pod_to_be_known() -> None:
    objects = web("a")
    cluster = Cluster(*objects[:2])
    assert cluster.behind("web") == [], "whether it takes mutual TLS is not known"
    cluster.put(objects[2])
    assert cluster.behind("web") == ["10.0.0.1:8080"]
    cluster.remove(objects[2])
    assert cluster.behind("web") == []
    assert not cluster.workloads


def test_a_pod_without_a_sidecar_is_an_endpoint_and_no_workload_of_ours() -> None:
    cluster = Cluster(*web("a")[:2], pod("a", "10.0.0.1", meshed=False))
    assert cluster.behind("web") == ["10.0.0.1:8080"]
    assert not cluster.services["default", "web"].members[0].capture
    assert not cluster.workloads


def test_the_label_of_a_sidecar_says_so_as_well_as_the_annotation() -> None:
    cluster = Cluster(pod("a", "10.0.0.1", meshed=False, labels={"security.istio.io/tlsMode": "istio"}))
    assert cluster.workloads["default", "a"].capture


def test_a_port_kept_from_capture_is_reached_in_the_clear() -> None:
    objects = web("a")
    objects[2]["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = "9000-9100,8080"
    cluster = Cluster(*objects)
    ((workload, app),) = cluster.services["default", "web"].ports[0].members
    assert (workload.capture, app.app) == (False, "10.0.0.1:8080")
    assert cluster.workloads["default", "a"].capture
    assert not cluster.workloads["default", "a"].ports


def test_a_workload_has_its_deployments_name_its_canonical_service_and_its_nodes_locality() -> None:
    replica = pod(
        "web-6d4cf56db6-x2x9z",
        "10.0.0.1",
        labels={"app": "web", "version": "v2", "pod-template-hash": "6d4cf56db6"},
        owner=("ReplicaSet", "web-6d4cf56db6"),
        account="web",
    )
    cluster = Cluster(replica, node("node-1", "eu", "eu-1"))
    workload = cluster.workloads["default", "web-6d4cf56db6-x2x9z"]
    assert (workload.owner, workload.canonical_service, workload.canonical_revision) == ("web", "web", "v2")
    assert (workload.locality, workload.service_account) == (Locality("eu", "eu-1"), "web")
    changes = cluster.put(node("node-1", "eu", "eu-2"))
    assert changes.workloads["default", workload.name].locality.zone == "eu-2"
    assert not cluster.put(node("node-2", "us", "us-1"))


FINISHED = {"state": {"terminated": {"exitCode": 0}}, "name": "app"}
FAILED = {"state": {"terminated": {"exitCode": 1}}, "name": "app"}
SIDECAR = {"state": {"running": {}}, "name": "remora-proxy"}


@pytest.mark.parametrize(
    ("policy", "statuses", "phase", "finished"),
    [
        ("Never", [FINISHED, SIDECAR], "Running", True),
        ("Never", [FAILED, SIDECAR], "Running", True),
        ("OnFailure", [FAILED, SIDECAR], "Running", False),
        ("OnFailure", [FINISHED, SIDECAR], "Running", True),
        ("Always", [FINISHED, SIDECAR], "Running", False),
        ("Never", [{"name": "app", "state": {"running": {}}}, SIDECAR], "Running", False),
        ("Never", [], "Pending", False),
        ("Never", [], "Succeeded", True),
    ],
)
def test_a_job_is_finished_when_its_own_containers_ended_for_good(
    policy: str, statuses: list[Object], phase: str, finished: bool
) -> None:
    job = pod("job", "10.0.0.1", phase=phase)
    job["spec"] |= {"restartPolicy": policy, "containers": [{"name": "app"}, {"name": "remora-proxy"}]}
    job["status"]["containerStatuses"] = statuses
    assert Cluster(job).workloads["default", "job"].finished is finished


@pytest.mark.parametrize("ready", [True, False], ids=["a ready one", "one that is not ready yet"])
@pytest.mark.parametrize(
    "declared",
    [{"args": ["proxy", "--kind=gateway"]}, {"args": ["proxy", "--kind", "gateway"]}, {"templates": "gateway"}],
    ids=["by a flag", "by a flag of two words", "by its template"],
)
def test_a_gateway_binds_what_its_service_leads_to(declared: Object, ready: bool) -> None:
    edge = pod("edge", "10.0.0.1", labels={"istio": "ingressgateway"})
    edge["metadata"]["annotations"] = {"inject.istio.io/templates": declared.get("templates", "")}
    edge["spec"]["containers"][0] |= {"name": "remora-proxy", "args": declared.get("args", [])}
    ports = ({"name": "http", "port": 80}, {"name": "https", "port": 443})
    cluster = Cluster(
        service("edge", *ports),
        endpoint_slice(
            "edge-1",
            "edge",
            endpoint("10.0.0.1", "edge", conditions={"ready": ready}),
            ports={"http": 8080, "https": 8443},
        ),
        edge,
    )
    workload = cluster.workloads["default", "edge"]
    assert (workload.kind, workload.gateway_ports) == ("gateway", {"80": "0.0.0.0:8080", "443": "0.0.0.0:8443"})
    assert workload.node_id.startswith("router~10.0.0.1~edge.default~")


def test_an_application_that_is_started_as_a_gateway_of_its_own_is_none_of_ours() -> None:
    other = pod("edge", "10.0.0.1", meshed=False)
    other["spec"]["containers"][0]["args"] = ["--kind", "gateway"]
    assert not Cluster(other).workloads


def test_readiness_that_comes_and_goes_changes_endpoints_and_no_workload() -> None:
    cluster = Cluster(*web("a", "b"))
    before = dict(cluster.workloads)
    resting = endpoint("10.0.0.1", "a", conditions={"ready": False})
    changes = cluster.put(endpoint_slice("web-1", "web", resting, endpoint("10.0.0.2", "b")))
    assert not changes.workloads
    assert cluster.behind("web") == ["10.0.0.2:8080"]
    assert cluster.services["default", "web"].members == (before["default", "b"],)


def test_hints_count_if_every_endpoint_has_one() -> None:
    cluster = Cluster(*web("a", "b"))
    first = endpoint("10.0.0.1", "a", hints={"forZones": [{"name": "z1"}]})
    cluster.put(endpoint_slice("web-1", "web", first, endpoint("10.0.0.2", "b")))
    assert not cluster.services["default", "web"].nearest
    second = endpoint("10.0.0.2", "b", hints={"forZones": [{"name": "z2"}, {"name": "z3"}]})
    cluster.put(endpoint_slice("web-1", "web", first, second))
    assert cluster.services["default", "web"].nearest == {
        "10.0.0.1": frozenset({"z1"}),
        "10.0.0.2": frozenset({"z2", "z3"}),
    }


def test_a_service_that_goes_and_comes_back_finds_its_slices() -> None:
    objects = web("a")
    cluster = Cluster(*objects)
    assert cluster.remove(objects[0]).services == {("default", "web"): None}
    cluster.put(objects[0])
    assert cluster.behind("web") == ["10.0.0.1:8080"]


def test_the_order_in_which_objects_come_makes_no_difference() -> None:
    objects = [*web("a", "b"), node("node-1", "eu", "eu-1")]
    forwards, backwards = Cluster(*objects), Cluster()
    for each in reversed(objects):
        backwards.put(each)
    assert forwards.services == backwards.services
    assert forwards.workloads == backwards.workloads


def test_a_pod_that_is_no_workload_for_us_is_told_and_keeps_nobody_else_out() -> None:
    cluster = Cluster(*web("a"))
    changes = cluster.put(pod("odd", "10.0.0.9", labels={"no label": "of Kubernetes"}))
    assert "pod default/odd" in changes.refused[0]
    assert cluster.behind("web") == ["10.0.0.1:8080"]
