"""What a cluster's services become in the mesh, and what clients are told of their instances."""

from control.api.world import World
from control.generate.endpoints import assignment
from control.ir.address import Address
from control.ir.services import Resolution, Service
from control.stores.kubernetes.pods import decode_node, decode_pod
from control.stores.kubernetes.registry import Registry
from control.stores.kubernetes.services import decode_service, decode_slice
from control.translate.mesh import translate
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, node, pod, service


def translated(name: str, *objects: Object) -> Service:
    registry = Registry()
    for each in objects:
        key = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
        match each["kind"]:
            case "Pod":
                registry.pod(key, decode_pod(each))
            case "Node":
                registry.node(key[1], decode_node(each))
            case "Service":
                registry.service(key, decode_service(each))
            case "EndpointSlice":
                registry.slice(*key, None, decode_slice(each))
    changes = registry.take()
    services = {key: found for key, found in changes.services.items() if found is not None}
    world = World().with_found(services, {}, {})
    return translate(world).mesh.services[f"{name}.default.svc.cluster.local"]


def test_a_pods_endpoint_has_its_locality_its_owners_name_and_mutual_tls() -> None:
    replica = pod(
        "web-5f-1",
        "10.0.0.1",
        labels={"app.kubernetes.io/name": "shop", "version": "v2", "pod-template-hash": "5f"},
        owner=("ReplicaSet", "web-5f"),
        account="web",
    )
    slices = endpoint_slice("web-1", "web", endpoint("10.0.0.1", "web-5f-1"))
    found = translated("web", service("web"), slices, replica, node("node-1", "eu", "eu-1"))
    (instance,) = found.endpoints[80]
    assert instance.address == Address("10.0.0.1", 8080)
    assert (instance.tls, instance.principal) == (True, "spiffe://cluster.local/ns/default/sa/web")
    (locality,) = assignment("c", found.endpoints[80]).endpoints
    assert (locality.locality.region, locality.locality.zone) == ("eu", "eu-1")
    metadata = locality.lb_endpoints[0].metadata.filter_metadata["istio"]
    assert metadata["workload"] == "web;default;shop;v2;laptop"


def test_instances_are_grouped_by_locality_and_in_one_order() -> None:
    ends = [endpoint(f"10.0.0.{index}", f"p{index}", node=f"node-{index % 2}") for index in (3, 1, 2, 4)]
    pods = [pod(f"p{index}", f"10.0.0.{index}", node=f"node-{index % 2}") for index in (1, 2, 3, 4)]
    nodes = [node("node-0", "eu", "b"), node("node-1", "eu", "a")]
    found = translated("web", service("web"), endpoint_slice("web-1", "web", *ends), *pods, *nodes)
    groups = [
        (each.locality.zone, [e.endpoint.address.socket_address.address for e in each.lb_endpoints])
        for each in assignment("c", found.endpoints[80]).endpoints
    ]
    assert groups == [("a", ["10.0.0.1", "10.0.0.3"]), ("b", ["10.0.0.2", "10.0.0.4"])]


def test_a_pod_without_a_sidecar_gets_no_mutual_tls() -> None:
    slices = endpoint_slice("web-1", "web", endpoint("10.0.0.1", "a"))
    (instance,) = translated("web", service("web"), slices, pod("a", "10.0.0.1", meshed=False)).endpoints[80]
    assert (instance.tls, instance.principal, instance.workload) == (False, "", "a")


def test_addresses_made_by_hand_are_instances_without_a_workload() -> None:
    slices = endpoint_slice("db-1", "db", endpoint("192.0.2.7", zone="z1"), ports={"": 5432})
    (instance,) = translated("db", service("db", {"port": 5432}), slices).endpoints[5432]
    assert (instance.address, instance.tls, instance.workload) == (Address("192.0.2.7", 5432), False, "")
    assert instance.locality == ("", "z1", "")


def test_an_external_name_is_a_name_that_proxies_look_up() -> None:
    external = service("db", {"port": 5432}, addresses=(), type="ExternalName", externalName="db.example.com")
    found = translated("db", external)
    assert found.resolution is Resolution.DNS
    assert [each.address for each in found.endpoints[5432]] == [Address("db.example.com", 5432)]


def test_topology_hints_reach_the_instances() -> None:
    ends = [endpoint(f"10.0.0.{n}", f"p{n}", hints={"forZones": [{"name": f"z{n}"}]}) for n in (1, 2)]
    pods = [pod(f"p{n}", f"10.0.0.{n}") for n in (1, 2)]
    found = translated("web", service("web"), endpoint_slice("web-1", "web", *ends), *pods)
    assert [each.zones for each in found.endpoints[80]] == [{"z1"}, {"z2"}]
